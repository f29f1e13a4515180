// Owns the user's messages from Enter to the log: waiting, sending, stored, failed. A message keeps its id over every
// repeat, a reconnect and a reload, so that the server stores it once; one at a time per conversation, so that a refused
// one can't be overtaken by the next. Called by the session; the timeline draws what is here below the log.

import { uuid } from './dom.js';

/** A publish that the server can't take now is repeated for so long; then the user decides. */
const KEEP_TRYING = 60_000;
/** A repeat must arrive within the dedupe window, not only leave within it. */
const MARGIN = 10_000;
const PASSING = new Set(['unavailable', 'internal', 'rate_limited']);

export class Outbox {
  #items = [];
  #busy = new Set();
  #session;
  #storage;

  constructor(session, storage) {
    this.#session = session;
    this.#storage = storage;
    for (const item of storage.unsent()) {
      const state = item.state === 'failed' ? 'failed' : 'waiting';
      this.#items.push({ ...item, type: 'message', state, unknown: Boolean(item.sentAt) });
    }
  }

  get keys() {
    return new Set(this.#items.map((item) => item.key));
  }

  get unsent() {
    return this.#items.filter((item) => item.state !== 'stored').length;
  }

  of(conv) {
    return this.#items.filter((item) => item.key === conv.key);
  }

  add(conv, text) {
    const now = Date.now();
    const item = {
      type: 'message',
      id: uuid(),
      key: conv.key,
      from: conv.me,
      text,
      at: now,
      since: now,
      sentAt: null,
      unknown: false,
      state: 'waiting',
      why: '',
    };
    this.#items.push(item);
    this.#storage.keep(item);
    this.flush(conv);
  }

  /** Sends what waits, in order, until one has to wait longer. */
  async flush(conv) {
    if (this.#busy.has(conv.key)) return;
    this.#busy.add(conv.key);
    try {
      for (;;) {
        const item = this.of(conv).find((each) => each.state === 'waiting');
        if (!item || !this.#session.canSay(conv)) break;
        if (!(await this.#send(conv, item))) break;
      }
    } finally {
      this.#busy.delete(conv.key);
      this.#session.changed();
    }
  }

  /** The sender's own copy has come: it is in the log, whatever was thought of it. */
  delivered(body) {
    const item = this.#items.find((each) => each.id === body.client_id || each.messageId === body.message_id);
    if (item && body.sender_username === item.from) this.discard(item);
  }

  /** Stored messages whose copy should have come by `position`, but lay in a gap. */
  overtaken(conv, position) {
    for (const item of this.#items) {
      if (item.state !== 'stored' || item.key !== conv.key || item.ack.epoch !== position.epoch) continue;
      if (item.ack.seq > position.seq) continue;
      conv.insert({ ...item.ack, sender_username: item.from, content: item.text });
      this.discard(item);
    }
  }

  /** Past the dedupe window the old id would store it a second time without saying so: a new id, and the user has seen why. */
  retry(conv, item) {
    if (this.expired(item)) {
      this.#storage.drop(item.id);
      Object.assign(item, { id: uuid(), sentAt: null, unknown: false });
    }
    Object.assign(item, { state: 'waiting', why: '', since: Date.now(), reentered: false });
    this.#storage.keep(item);
    this.flush(conv);
  }

  discard(item) {
    this.#items = this.#items.filter((each) => each !== item);
    this.#storage.drop(item.id);
  }

  expired(item) {
    return item.unknown && Date.now() - item.sentAt > this.#session.dedupeMs - MARGIN;
  }

  /** True where the next may follow. */
  async #send(conv, item) {
    if (this.expired(item)) return this.#fail(item, 'The connection broke before the answer, so it may have been sent.');
    item.sentAt ??= Date.now();
    item.state = 'sending';
    this.#storage.keep(item);
    this.#session.changed();
    try {
      const ack = await this.#session.publish(conv, item.text, item.id);
      this.#stored(conv, item, ack);
      return true;
    } catch (refusal) {
      return this.#refused(conv, item, refusal);
    }
  }

  #stored(conv, item, ack) {
    this.#storage.drop(item.id);
    if (conv.ids.has(ack.message_id)) return this.discard(item);
    Object.assign(item, { state: 'stored', messageId: ack.message_id, at: ack.sent_at ?? item.at, ack });
    const position = this.#session.positionOf(conv);
    if (position) this.overtaken(conv, position);
  }

  #refused(conv, item, refusal) {
    const { code, outcome, retryAfter } = refusal;
    if (code === 'lost' || outcome === 'unknown' || code === 'internal') item.unknown = true;
    else if (!item.unknown) item.sentAt = null;
    item.state = 'waiting';
    if (PASSING.has(code)) {
      if (Date.now() - item.since > KEEP_TRYING) return this.#fail(item, 'The server can’t store messages right now.');
      item.tries = (item.tries ?? 0) + 1;
      const wait = retryAfter ?? Math.min(10_000, 500 * 2 ** item.tries) * (0.5 + Math.random() / 2);
      setTimeout(() => this.flush(conv), wait);
    } else if (code === 'not_in_room' && !item.reentered) {
      item.reentered = true;
      this.#session.enter(conv);
    } else if (code !== 'lost' && code !== 'offline' && code !== 'unauthorized') {
      return this.#fail(item, refusal.message);
    }
    this.#storage.keep(item);
    return false;
  }

  /** The next may follow: a failed message is the user's to decide on. */
  #fail(item, why) {
    Object.assign(item, { state: 'failed', why });
    this.#storage.keep(item);
    return true;
  }
}
