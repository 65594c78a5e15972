// PyTorch's caching allocator: the twin of week01_intro/allocator.py. A test holds both equal on random traces.
"use strict";

const allocator = (() => {
  const MIB = 2 ** 20, MIN_BLOCK = 512, SMALL_LIMIT = MIB, SMALL_SEGMENT = 2 * MIB;
  const MIDDLE_LIMIT = 10 * MIB, LARGE_SEGMENT = 20 * MIB, LARGE_ROUNDING = 2 * MIB;
  const COUNTERS =
    ["allocation", "allocated_bytes", "requested_bytes", "segment", "reserved_bytes", "inactive_split_bytes"];
  const sum = (items, value) => items.reduce((total, item) => total + value(item), 0);

  const roundSize = nbytes => Math.max(1, Math.ceil(nbytes / MIN_BLOCK)) * MIN_BLOCK;

  function segmentSize(size) {
    if (size <= SMALL_LIMIT) return SMALL_SEGMENT;
    return size < MIDDLE_LIMIT ? LARGE_SEGMENT : Math.ceil(size / LARGE_ROUNDING) * LARGE_ROUNDING;
  }

  const shouldSplit = (blockSize, size, small) => {
    const rest = blockSize - size;
    return small ? rest >= MIN_BLOCK : rest > SMALL_LIMIT;
  };

  class OutOfMemory extends Error {}

  /** The allocator of one device with `capacity` bytes (Infinity: no limit). Addresses mean nothing outside. */
  class CachingAllocator {
    constructor(capacity = Infinity) {
      Object.assign(this, {capacity, segments: [], live: new Map(), nextAddress: 0x7f0000000000});
      Object.assign(this, {retries: 0, ooms: 0, peakAllocated: 0, peakReserved: 0});
    }

    get allocated() {
      return sum([...this.live.values()], ([, block]) => block.size);
    }

    get reserved() {
      return sum(this.segments, segment => segment.size);
    }

    malloc(nbytes, stream = 0) {
      if (nbytes < 1) throw new RangeError(`cannot allocate ${nbytes} bytes; ask for 1 or more`);
      const size = roundSize(nbytes);
      const [segment, block] = this.bestFit(size, stream) ?? this.newSegment(size, stream);
      if (shouldSplit(block.size, size, segment.small)) {
        const rest = {address: block.address + size, size: block.size - size, live: false, requested: 0};
        segment.blocks.splice(segment.blocks.indexOf(block) + 1, 0, rest);
        block.size = size;
      }
      block.live = true;
      block.requested = nbytes;
      this.live.set(block.address, [segment, block]);
      this.peakAllocated = Math.max(this.peakAllocated, this.allocated);
      this.peakReserved = Math.max(this.peakReserved, this.reserved);
      return block.address;
    }

    free(address) {
      if (!this.live.has(address)) throw new RangeError(`no live block at ${address}`);
      const [segment, block] = this.live.get(address);
      this.live.delete(address);
      block.live = false;
      block.requested = 0;
      const at = segment.blocks.indexOf(block);
      for (const left of [at, at - 1]) { // the right neighbour first, so that at - 1 still points to the left one
        if (left < 0 || left + 1 >= segment.blocks.length) continue;
        const [first, second] = segment.blocks.slice(left, left + 2);
        if (first.live || second.live) continue;
        first.size += second.size;
        segment.blocks.splice(left + 1, 1);
      }
    }

    /** Give back every segment that holds no live block; return the bytes given back. */
    emptyCache() {
      const before = this.reserved;
      this.segments = this.segments.filter(segment => segment.blocks.some(block => block.live));
      return before - this.reserved;
    }

    /** The counters of torch.cuda.memory_stats that the Python model keeps. */
    stats() {
      const out = {};
      for (const name of COUNTERS)
        for (const pool of ["all", "small_pool", "large_pool"]) out[`${name}.${pool}.current`] = 0;
      for (const {blocks, size, small} of this.segments) {
        const live = blocks.filter(block => block.live), idle = blocks.filter(block => !block.live);
        const counted = {
          allocation: live.length,
          allocated_bytes: sum(live, block => block.size),
          requested_bytes: sum(live, block => block.requested),
          segment: 1,
          reserved_bytes: size,
          inactive_split_bytes: blocks.length > 1 ? sum(idle, block => block.size) : 0,
        };
        for (const [name, value] of Object.entries(counted)) {
          out[`${name}.all.current`] += value;
          out[`${name}.${small ? "small" : "large"}_pool.current`] += value;
        }
      }
      return {
        ...out,
        "allocated_bytes.all.peak": this.peakAllocated,
        "reserved_bytes.all.peak": this.peakReserved,
        num_alloc_retries: this.retries,
        num_ooms: this.ooms,
      };
    }

    /** The smallest sufficient free block of the same stream and pool; of equals, the lowest address. */
    bestFit(size, stream) {
      let best = null;
      for (const segment of this.segments) {
        if (segment.stream !== stream || segment.small !== size <= SMALL_LIMIT) continue;
        for (const block of segment.blocks) {
          if (block.live || block.size < size) continue;
          const better = !best || block.size < best[1].size ||
            (block.size === best[1].size && block.address < best[1].address);
          if (better) best = [segment, block];
        }
      }
      return best;
    }

    newSegment(size, stream) {
      const total = segmentSize(size);
      if (this.reserved + total > this.capacity) {
        this.retries += 1;
        this.emptyCache();
      }
      if (this.reserved + total > this.capacity) {
        this.ooms += 1;
        throw new OutOfMemory(`a segment of ${(total / MIB).toFixed(2)} MiB does not fit`);
      }
      const block = {address: this.nextAddress, size: total, live: false, requested: 0};
      this.nextAddress += total;
      const segment = {address: block.address, size: total, stream, small: size <= SMALL_LIMIT, blocks: [block]};
      this.segments.push(segment);
      return [segment, block];
    }
  }

  return {CachingAllocator, OutOfMemory, roundSize, segmentSize, MIB};
})();

if (typeof module !== "undefined") module.exports = allocator;
