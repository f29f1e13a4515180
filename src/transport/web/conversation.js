// Owns what is known of a room or person. Sends and draws nothing.

/** Then the oldest go, at twice that under who reads them. */
const MOST_ITEMS = 12_000;
const LET_GO = 2_000;
const TYPING_FOR = 5_000;

export const place = ({ epoch, seq, message_id }) => ({ epoch, seq, message_id });
export const keyOf = (kind, name) => `${kind}=${encodeURIComponent(name)}`;

const message = (body) => ({ ...place(body), id: body.message_id, from: body.sender_username, text: body.content, at: body.sent_at });

export class Conversation {
	items = [];
	ids = new Set();
	/** The index of `items[0]`. */
	base = 0;
	/** Of rooms; persons share the session's. */
	position = null;
	read = null;
	peerRead = '';
	/** Up to this `seq` it came late: `New` even when looked at. */
	missedUpTo = 0;
	divider = null;
	more = true;
	members = null;
	stale = true;
	typing = new Map();
	draft = '';
	/** After `read`: of others, and of ours. */
	counted = 0;
	own = 0;

	constructor(kind, name, me) {
		Object.assign(this, { kind, name, me, key: keyOf(kind, name), isRoom: kind === 'room' });
		this.title = this.isRoom ? `#${name}` : name;
		this.target = this.isRoom ? { room: name } : { target_username: name };
	}

	get unread() {
		const { position, read } = this;
		if (!this.isRoom || !position || read?.epoch !== position.epoch) return this.counted;
		return Math.max(0, position.seq - read.seq - this.own);
	}

	append(body, watched) {
		if (this.ids.has(body.message_id)) return;
		const item = message(body);
		this.ids.add(item.id);
		this.items.push(item);
		this.typing.delete(item.from);
		this.#count(item);
		if (this.#isNew(item) && (!watched || item.seq <= this.missedUpTo)) this.divider ??= item;
		if (this.items.length > (this.held ? 2 : 1) * MOST_ITEMS) {
			const old = this.items.splice(0, this.items.length - MOST_ITEMS + LET_GO);
			for (const { id } of old) this.ids.delete(id);
			this.base += old.length;
			this.more = true;
		}
		return item;
	}

	prepend(bodies, more) {
		const page = bodies.filter((body) => !this.ids.has(body.message_id)).map(message);
		for (const item of page) this.ids.add(item.id);
		this.items.unshift(...page);
		this.base -= page.length;
		this.more = more && bodies.length > 0;
		if (this.read) this.#recount();
	}

	gap(reason) {
		if (!this.items.at(-1)?.gap) this.items.push({ gap: reason ?? 'trimmed', at: this.items.at(-1)?.at });
	}

	presence(user, here) {
		if (!here) this.typing.delete(user);
		if (!this.members || this.members.has(user) === here) return;
		this.count += here ? 1 : -1;
		this.members[here ? 'add' : 'delete'](user);
	}

	before() {
		const first = this.items.find((item) => item.from);
		if (first) return { epoch: first.epoch, before: first.seq };
		return this.position && { epoch: this.position.epoch, before: this.position.seq + 1 };
	}

	markRead() {
		const last = this.isRoom ? this.position : this.items.findLast((item) => this.#isNew(item));
		this.counted = this.own = 0;
		if (!this.#isAfter(last, this.read)) return false;
		this.read = place(last);
		return true;
	}

	/** Markers only move forward. True where ours is ahead. */
	readElsewhere(marker) {
		if (!this.#isAfter(marker, this.read)) return this.#isAfter(this.read, marker);
		this.read = place(marker);
		this.#recount();
		return false;
	}

	whoTypes() {
		for (const [user, since] of this.typing) if (Date.now() - since > TYPING_FOR) this.typing.delete(user);
		return [...this.typing.keys()];
	}

	toJSON() {
		const { kind, name, position, read, peerRead, draft, counted, own } = this;
		return { kind, name, position, read, peerRead, draft, counted, own };
	}

	/** Message ids are ordered by time, and a person's messages by them. */
	#isAfter(one, other) {
		if (!this.isRoom) return one?.message_id > (other?.message_id ?? '');
		return one?.seq > (one?.epoch === other?.epoch ? other.seq : 0);
	}

	#isNew(item) {
		return item.from && item.from !== this.me && this.#isAfter(item, this.read);
	}

	#count(item) {
		if (this.#isNew(item)) this.counted += 1;
		else if (this.#isAfter(item, this.read)) this.own += 1;
	}

	#recount() {
		this.counted = this.own = 0;
		for (const item of this.items) this.#count(item);
	}
}
