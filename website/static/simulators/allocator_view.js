// The page of the caching allocator: ask for memory, give it back, and see what stays reserved.
"use strict";

(() => {
  const NARROWEST = 560, LEFT = 110, ROW = 24, {MIB} = allocator;
  let device, blocks, told, next, request;

  function draw(place) {
    const {segments} = device, wide = Math.max(NARROWEST, place.clientWidth);
    const widest = Math.max(20 * MIB, ...segments.map(segment => segment.size));
    const scale = (wide - LEFT) / widest;
    const shapes = segments.flatMap((segment, row) => {
      const y = row * ROW + 2;
      const label = page.svg("text", {x: 0, y: y + 15}, `${segment.small ? "small" : "large"}, ${page.bytes(segment.size)}`);
      const boxes = segment.blocks.map(block => page.svg("rect", {
        x: LEFT + (block.address - segment.address) * scale, y, height: ROW - 6, width: Math.max(1, block.size * scale),
        class: block.live ? "live" : "reserved",
      }, page.svg("title", {}, `${page.bytes(block.size)}, ${block.live ? `asked for ${block.requested}` : "free"}`)));
      return [label, ...boxes];
    });
    const live = segments.flatMap(segment => segment.blocks).filter(block => block.live).length;
    const words = `${segments.length} segments with ${live} live blocks`;
    place.replaceChildren(page.picture(wide, Math.max(ROW, segments.length * ROW), words, ...shapes));
  }

  function numbers(place) {
    const now = device.stats();
    const rows = [
      ["live (memory_allocated)", page.bytes(device.allocated)],
      ["asked for", page.bytes(now["requested_bytes.all.current"])],
      ["reserved (memory_reserved)", page.bytes(device.reserved)],
      ["free pieces of segments in use", page.bytes(now["inactive_split_bytes.all.current"])],
      ["highest reserved", page.bytes(now["reserved_bytes.all.peak"])],
      ["times the cache was emptied to make room", String(now.num_alloc_retries)],
      ["times out of memory", String(now.num_ooms)],
    ];
    place.replaceChildren(told, page.table("What the device holds", ["counter", "now"], rows));
  }

  function listBlocks() {
    const list = document.getElementById("allocator-live");
    list.replaceChildren(...blocks.map(({name, address, nbytes}) =>
      page.element("option", {value: address}, `block ${name}, ${page.bytes(nbytes)}`)));
    document.getElementById("allocator-free").disabled = !blocks.length;
  }

  const again = page.simulator("allocator", {
    size: {label: "size of the next request", min: 6, max: 26, step: 0.25, value: 20,
      show: power => page.bytes(Math.round(2 ** power))},
    capacity: {label: "device (a change starts anew)", min: 5, max: 9, value: 7,
      show: power => page.bytes(2 ** power * MIB)},
  }, ({size, capacity}, place, table) => {
    if (!device || device.capacity !== 2 ** capacity * MIB) {
      device = new allocator.CachingAllocator(2 ** capacity * MIB);
      [blocks, next] = [[], 1];
      told ??= page.element("p", {role: "status"});
      told.textContent = "Nothing is allocated.";
      listBlocks();
    }
    request = Math.round(2 ** size);
    draw(place);
    numbers(table);
  });

  const does = {
    malloc() {
      try {
        blocks.push({name: next++, address: device.malloc(request), nbytes: request});
        told.textContent = `Block ${next - 1}: ${page.bytes(request)}.`;
      } catch (error) {
        if (!(error instanceof allocator.OutOfMemory)) throw error;
        told.textContent = `Out of memory: ${error.message}.`;
      }
    },
    free() {
      const address = Number(document.getElementById("allocator-live").value);
      const block = blocks.find(one => one.address === address);
      device.free(address);
      blocks = blocks.filter(one => one !== block);
      told.textContent = `Block ${block.name} is free; its segment stays reserved.`;
    },
    empty() {
      told.textContent = `${page.bytes(device.emptyCache())} went back to the driver.`;
    },
  };
  for (const [name, action] of Object.entries(does)) {
    document.getElementById(`allocator-${name}`).addEventListener("click", () => {
      action();
      listBlocks();
      again();
    });
  }
})();
