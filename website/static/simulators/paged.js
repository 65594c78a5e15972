// The book-keeping of a paged KV cache: the twin of week07_inference_software/engine/blocks.py where nothing is kept
// for later prompts. A test holds both equal on random traces.
"use strict";

const paged = (() => {
  class OutOfBlocks extends Error {}

  /** Hands out blocks 1 to `blocks` - 1 (0 is scratch) of `size` tokens, shares them, and takes them back. */
  class BlockPool {
    constructor(blocks, size) {
      Object.assign(this, {blocks, size, holders: new Map()});
      this.free = Array.from({length: blocks - 1}, (_, at) => at + 1);
    }

    /** How many blocks a table lacks for so many tokens. */
    needed(table, tokens) {
      return Math.max(0, Math.ceil(tokens / this.size) - table.length);
    }

    /** Add blocks to a table until it holds so many tokens; or take none, and throw. */
    grow(table, tokens) {
      const count = this.needed(table, tokens);
      if (count > this.free.length)
        throw new OutOfBlocks(`${count} blocks are needed, and ${this.free.length} can be had`);
      for (let n = 0; n < count; n++) table.push(this.take());
    }

    take() {
      const block = this.free.shift();
      this.holders.set(block, 1);
      return block;
    }

    /** Give back the blocks at a table's end that so many tokens do not need, the last one first. */
    shrink(table, tokens) {
      for (const block of table.splice(Math.ceil(tokens / this.size)).reverse()) {
        this.holders.set(block, this.holders.get(block) - 1);
        if (this.holders.get(block)) continue;
        this.holders.delete(block);
        this.free.push(block);
      }
    }

    release(table) {
      this.shrink(table, 0);
    }

    /** A second table on the same blocks: nothing is copied until one of the two writes. */
    fork(table) {
      for (const block of table) this.holders.set(block, this.holders.get(block) + 1);
      return [...table];
    }

    /** Whether a token's block is there, and held by others too: then it must be copied before it is written. */
    shared(table, token) {
      const place = Math.floor(token / this.size);
      return place < table.length && this.holders.get(table[place]) > 1;
    }

    /** Give the table a block of its own in the place of a shared one; returns [source, target] of the copy. */
    own(table, token) {
      if (!this.free.length) throw new OutOfBlocks("a block must be copied before it is written, and none is left");
      const place = Math.floor(token / this.size), source = table[place];
      table[place] = this.take();
      this.holders.set(source, this.holders.get(source) - 1);
      return [source, table[place]];
    }
  }

  /** Share of the cache that holds nothing: with `longest` tokens reserved for each sequence, and with blocks. */
  function waste(stored, longest, block) {
    const sum = numbers => numbers.reduce((a, b) => a + b, 0);
    const inBlocks = sum(stored.map(tokens => Math.ceil(tokens / block) * block));
    return [1 - sum(stored) / (longest * stored.length), 1 - sum(stored) / inBlocks];
  }

  return {BlockPool, OutOfBlocks, waste};
})();

if (typeof module !== "undefined") module.exports = paged;
