// Owns what is known of one room or one person: the messages in order, the position in the log, what was read, who is
// there and who types. It sends nothing and draws nothing. The session fills it, the views read it.

/** Beyond this the oldest are let go; scrolling up fetches them again. */
const MOST_ITEMS = 12_000;
const LET_GO = 2_000;
const TYPING_FOR = 5_000;

export const place = ({ epoch, seq, message_id }) => ({ epoch, seq, message_id });

function message(body) {
  return {
    type: 'message',
    id: body.message_id,
    from: body.sender_username,
    text: String(body.content ?? ''),
    at: body.sent_at,
    epoch: body.epoch,
    seq: body.seq,
  };
}

export class Conversation {
  items = [];
  ids = new Set();
  /** What keeps an index valid while pages come in front and old items go: the absolute index of `items[0]`. */
  base = 0;
  /** Rooms: the position to resume from. (Private messages have one for all persons, in the session.) */
  position = null;
  /** How far this user has read: rooms `{epoch, seq}`, persons a message id. */
  read = null;
  /** How far the other person has read. */
  peerRead = '';
  /** Replayed messages up to here were missed, and get the `New` line even when looked at. */
  missedUpTo = 0;
  divider = null;
  more = true;
  loading = false;
  joined = false;
  members = null;
  count = 0;
  typing = new Map();
  draft = '';
  #unread = 0;

  constructor(kind, name, me) {
    this.kind = kind;
    this.name = name;
    this.me = me;
  }

  get isRoom() {
    return this.kind === 'room';
  }

  get key() {
    return `${this.kind}=${encodeURIComponent(this.name)}`;
  }

  get title() {
    return this.isRoom ? `#${this.name}` : this.name;
  }

  get unread() {
    if (!this.isRoom) return this.#unread;
    if (!this.position || !this.read) return 0;
    if (this.read.epoch === this.position.epoch) return Math.max(0, this.position.seq - this.read.seq);
    return this.items.filter((item) => item.epoch === this.position.epoch && item.from !== this.me).length;
  }

  /** The new item; null where the message is here already. */
  append(body, watched) {
    if (this.ids.has(body.message_id)) return null;
    const item = message(body);
    this.ids.add(item.id);
    this.items.push(item);
    this.typing.delete(item.from);
    if (item.from !== this.me && this.#isNew(item)) {
      if (!watched) this.#unread += 1;
      if (!watched || item.seq <= this.missedUpTo) this.divider ??= item;
    }
    this.#trim();
    return item;
  }

  /** A page of history, oldest first. */
  prepend(bodies, more) {
    const page = bodies.filter((body) => !this.ids.has(body.message_id)).map(message);
    for (const item of page) this.ids.add(item.id);
    this.items.unshift(...page);
    this.base -= page.length;
    this.more = more && page.length > 0;
    if (!this.isRoom && this.read) this.#recount();
  }

  /** One's own message that is stored but was not delivered here (a gap swallowed it): at its place. */
  insert(body) {
    if (this.ids.has(body.message_id)) return;
    let at = this.items.length;
    while (at > 0 && this.items[at - 1].epoch === body.epoch && this.items[at - 1].seq > body.seq) at -= 1;
    this.ids.add(body.message_id);
    this.items.splice(at, 0, message(body));
  }

  gap(reason) {
    if (this.items.at(-1)?.type !== 'gap') this.items.push({ type: 'gap', reason });
  }

  /** Comings and goings in a row are one line; who left and came back (a killed node) is no news. */
  presence(user, here) {
    if (this.members) {
      const known = this.members.has(user);
      if (here) this.members.add(user);
      else this.members.delete(user);
      if (known !== here) this.count += here ? 1 : -1;
    }
    if (!here) this.typing.delete(user);
    if (user === this.me) return;
    let line = this.items.at(-1);
    if (line?.type !== 'presence') this.items.push((line = { type: 'presence', changes: new Map(), version: 0 }));
    if (line.changes.get(user) === !here) line.changes.delete(user);
    else line.changes.set(user, here);
    line.version += 1;
    if (!line.changes.size) this.items.pop();
  }

  /** The oldest message that is here, to ask for those before it. */
  oldest() {
    const first = this.items.find((item) => item.type === 'message');
    if (first) return { epoch: first.epoch, before: first.seq };
    return this.position && { epoch: this.position.epoch, before: this.position.seq + 1 };
  }

  /** All that is here has been seen. True where the marker moved. */
  markRead() {
    if (this.isRoom) {
      if (!this.position || (this.read?.epoch === this.position.epoch && this.read.seq >= this.position.seq)) return false;
      this.read = { epoch: this.position.epoch, seq: this.position.seq };
      return true;
    }
    this.#unread = 0;
    const last = this.items.findLast((item) => item.from && item.from !== this.me);
    if (!last || last.id <= (this.read ?? '')) return false;
    this.read = last.id;
    return true;
  }

  /** A marker set elsewhere. Markers only move forward. */
  readElsewhere(marker) {
    if (this.isRoom) {
      if (this.read?.epoch === marker.epoch && this.read.seq >= marker.seq) return;
      this.read = { epoch: marker.epoch, seq: marker.seq };
    } else if (marker > (this.read ?? '')) {
      this.read = marker;
      this.#recount();
    }
  }

  setTyping(user, now) {
    this.typing.set(user, now + TYPING_FOR);
  }

  whoTypes(now) {
    for (const [user, until] of this.typing) if (until < now) this.typing.delete(user);
    return [...this.typing.keys()];
  }

  toJSON() {
    const { kind, name, position, read, peerRead, draft, unread } = this;
    return { kind, name, position, read, peerRead, draft, unread };
  }

  restore({ position, read, peerRead, draft, unread }) {
    Object.assign(this, { position, read, peerRead: peerRead ?? '', draft: draft ?? '' });
    this.#unread = unread ?? 0;
  }

  #isNew(item) {
    if (!this.isRoom) return item.id > (this.read ?? '');
    return this.read?.epoch !== item.epoch || item.seq > this.read.seq;
  }

  /** By what is loaded; ids of messages are ordered by time. */
  #recount() {
    this.#unread = this.items.filter((item) => item.from && item.from !== this.me && item.id > this.read).length;
  }

  #trim() {
    if (this.items.length <= MOST_ITEMS) return;
    for (const item of this.items.splice(0, LET_GO)) this.ids.delete(item.id);
    this.base += LET_GO;
    this.more = true;
  }
}
