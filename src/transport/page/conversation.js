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
	/** Of rooms a place, of persons a message id. */
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
	counted = 0;

	constructor(kind, name, me) {
		Object.assign(this, { kind, name, me, key: keyOf(kind, name), isRoom: kind === 'room' });
		this.title = this.isRoom ? `#${name}` : name;
	}

	get unread() {
		const { position, read } = this;
		if (!this.isRoom || !position || read?.epoch !== position.epoch) return this.counted;
		return Math.max(0, position.seq - read.seq);
	}

	append(body, watched) {
		if (this.ids.has(body.message_id)) return;
		const item = message(body);
		this.ids.add(item.id);
		this.items.push(item);
		this.typing.delete(item.from);
		if (this.#isNew(item)) {
			if (!watched) this.counted += 1;
			if (!watched || item.seq <= this.missedUpTo) this.divider ??= item;
		}
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
		const { position, read } = this;
		this.counted = 0;
		if (this.isRoom) {
			if (!position || (read?.epoch === position.epoch && read.seq >= position.seq)) return false;
			this.read = position;
			return true;
		}
		const last = this.items.findLast((item) => this.#isNew(item));
		if (last) this.read = last.id;
		return Boolean(last);
	}

	/** Markers only move forward. True where ours is ahead. */
	readElsewhere(marker) {
		if (this.isRoom) {
			if (marker && (this.read?.epoch !== marker.epoch || this.read.seq < marker.seq)) this.read = place(marker);
			return this.read?.seq > (marker?.seq ?? 0);
		}
		if (marker > (this.read ?? '')) {
			this.read = marker;
			this.#recount();
		}
		return this.read > (marker ?? '');
	}

	whoTypes() {
		for (const [user, since] of this.typing) if (Date.now() - since > TYPING_FOR) this.typing.delete(user);
		return [...this.typing.keys()];
	}

	toJSON() {
		const { kind, name, position, read, peerRead, draft, counted } = this;
		return { kind, name, position, read, peerRead, draft, counted };
	}

	/** Message ids are ordered by time. */
	#isNew(item) {
		if (!item.from || item.from === this.me) return false;
		if (!this.isRoom) return item.id > (this.read ?? '');
		return this.read?.epoch !== item.epoch || item.seq > this.read.seq;
	}

	#recount() {
		this.counted = this.items.filter((item) => this.#isNew(item)).length;
	}
}
