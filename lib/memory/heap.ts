/** What a heap remembers on each of its items, so that one can be taken out of the middle. */
export interface HeapItem {
  /** Its index in the heap that it is in; owned by the heap. */
  place: number;
}

/** A binary heap whose items can also be removed from the middle, all in O(log n). An item is in one heap at a time. */
export class Heap<Item extends HeapItem> {
  private readonly items: Item[] = [];

  /** @param before Whether the first comes out before the second; a total order. */
  constructor(private readonly before: (one: Item, other: Item) => boolean) {}

  peek(): Item | undefined {
    return this.items[0];
  }

  push(item: Item): void {
    this.rise(item, this.items.length);
  }

  /** @returns Whether the item was in this heap. */
  remove(item: Item): boolean {
    if (this.items[item.place] !== item) return false;
    const last = this.items.pop()!;
    if (last !== item) {
      this.sink(last, item.place);
      this.rise(last, last.place);
    }
    return true;
  }

  private rise(item: Item, from: number): void {
    let place = from;
    while (place > 0) {
      const above = (place - 1) >> 1;
      const parent = this.items[above]!;
      if (!this.before(item, parent)) break;
      this.put(parent, place);
      place = above;
    }
    this.put(item, place);
  }

  private sink(item: Item, from: number): void {
    let place = from;
    for (;;) {
      const left = this.items[2 * place + 1];
      const right = this.items[2 * place + 2];
      const child = right && left && this.before(right, left) ? right : left;
      if (!child || !this.before(child, item)) break;
      const below = child.place;
      this.put(child, place);
      place = below;
    }
    this.put(item, place);
  }

  private put(item: Item, place: number): void {
    this.items[place] = item;
    item.place = place;
  }
}
