// The wire: every address and message that this page and its server exchange goes through here (docs/annotate_protocol.md).

const RETRY_MS = [250, 500, 1000, 2000, 4000];

/** What the server refused, in its own words. */
class Refusal extends Error {
  constructor({ message, where, hint }) {
    super([message, where, hint].filter(Boolean).join(" "));
    this.name = "Refusal";
  }
}

export class Connection {
  #socket = null;
  #number = 0;
  #waiting = new Map();
  #tries = 0;
  // Pages inside other sites, such as notebooks, may have no cookie: they show the token of their own address.
  #token = new URLSearchParams(location.search).get("token");

  /**
   * @param {Object} listeners
   * @param {(message: Object) => void} listeners.onMessage text messages that answer no act
   * @param {(message: ArrayBuffer) => void} listeners.onMasks
   * @param {(status: "connecting"|"open"|"lost"|"refused") => void} listeners.onStatus
   */
  constructor(listeners) {
    this.listeners = listeners;
  }

  address(path) {
    const url = new URL(path.replace(/^\//, ""), new URL(".", location.href));
    if (this.#token) url.searchParams.set("token", this.#token);
    return url;
  }

  open() {
    const url = this.address("socket");
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => {
      this.#tries = 0;
      this.listeners.onStatus("open");
    });
    socket.addEventListener("message", ({ data }) => this.#receive(data));
    socket.addEventListener("close", () => this.#closed());
    this.#socket = socket;
  }

  /**
   * Send an act.
   *
   * @returns {Promise<Object> & {number: number}} the server's `done`; fails with a Refusal. `number` is that of the message.
   */
  act(act, fields = {}) {
    const n = ++this.#number;
    const answer = new Promise((resolve, reject) => {
      if (this.#socket?.readyState !== WebSocket.OPEN) {
        reject(new Refusal({ message: "The server is not reached.", hint: "Nothing was changed." }));
        return;
      }
      this.#waiting.set(n, { resolve, reject });
      this.#socket.send(JSON.stringify({ n, act, ...fields }));
    });
    return Object.assign(answer, { number: n });
  }

  /** The picture of a frame, decoded. @returns {Promise<ImageBitmap>} */
  async picture(video, frame, signal) {
    const answer = await fetch(this.address(`frame/${video}/${frame}.jpg`), { signal });
    if (!answer.ok) throw new Error((await answer.text()).slice(0, 300) || `The server answered ${answer.status}.`);
    return createImageBitmap(await answer.blob());
  }

  /** The ready picture nearest to a frame, and whose it is. @returns {Promise<{frame: number, picture: ImageBitmap} | null>} */
  async nearPicture(video, frame) {
    const answer = await fetch(this.address(`near/${video}/${frame}.jpg`));
    if (!answer.ok) return null;
    const own = Number(/(\d+)\.jpg/.exec(answer.url)[1]);
    return { frame: own, picture: await createImageBitmap(await answer.blob()) };
  }

  #receive(data) {
    if (data instanceof ArrayBuffer) return this.listeners.onMasks(data);
    const message = JSON.parse(data);
    const waiting = this.#waiting.get(message.n);
    if (message.type === "done" || (message.type === "error" && waiting)) {
      this.#waiting.delete(message.n);
      if (message.type === "done") waiting?.resolve(message);
      else waiting.reject(new Refusal(message));
    } else {
      this.listeners.onMessage(message);
    }
  }

  async #closed() {
    for (const { reject } of this.#waiting.values()) {
      reject(new Refusal({ message: "The connection broke while this was being done.", hint: "Look whether it was." }));
    }
    this.#waiting.clear();
    this.listeners.onStatus((await this.#isRefused()) ? "refused" : "lost");
    setTimeout(() => this.open(), RETRY_MS[Math.min(this.#tries++, RETRY_MS.length - 1)]);
  }

  /** Whether there is a server that no longer knows this page: it was started again and has another token. */
  async #isRefused() {
    try {
      return (await fetch(this.address("frame/0/0.jpg"), { method: "HEAD", cache: "no-store" })).status === 403;
    } catch {
      return false;
    }
  }
}
