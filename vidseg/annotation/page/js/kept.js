// What this browser keeps for the next visit. In a frame of another site, such as a notebook, it may refuse to keep anything.

/** What is kept under a key; null if nothing is. */
export function recall(key) {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function keep(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // It holds until the page is closed.
  }
}
