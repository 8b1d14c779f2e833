// What the page knows, in one place. Modules read `store.state`, change it by `store.set`, and are told of keys that they name.

/** @typedef {{first: number, last: number}} Span Frames `first` to `last`, inclusive. */

export class Store {
  #listeners = new Set();
  #changed = new Set();
  #isAsked = false;

  /** @param {Object} state the keys that there are, with what they hold at first */
  constructor(state) {
    this.state = state;
  }

  /** Change some keys. Those whose value stays the same count as unchanged. */
  set(changes) {
    for (const [key, value] of Object.entries(changes)) {
      if (!(key in this.state)) throw new Error(`the store has no key '${key}'`);
      if (Object.is(this.state[key], value)) continue;
      this.state[key] = value;
      this.#changed.add(key);
    }
    this.#tell();
  }

  /** Say that what `key` holds has changed inside, where it is changed in place because it is large. */
  touch(key) {
    this.#changed.add(key);
    this.#tell();
  }

  /** Call `listener` after any of `keys` changed, once for all changes of one turn; and once at the start. */
  on(keys, listener) {
    this.#listeners.add({ keys, listener });
    listener(this.state);
  }

  #tell() {
    if (this.#isAsked || this.#changed.size === 0) return;
    this.#isAsked = true;
    queueMicrotask(() => {
      this.#isAsked = false;
      const changed = this.#changed;
      this.#changed = new Set();
      for (const { keys, listener } of this.#listeners) if (keys.some((key) => changed.has(key))) listener(this.state);
    });
  }
}
