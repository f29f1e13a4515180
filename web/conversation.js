// @ts-check
// Owns the state of one room, or of the direct messages with one user. Sends and draws nothing.

/** @import { EventBody, Gap, Kind, Marker, Message, Note, Position, Removal, RoomRights, SavedConversation, Standing, StoredMessage } from './page.d.ts' */

/** Above this, the oldest messages are dropped; above twice this while the user scrolls back in them. */
const MOST_ITEMS = 12_000;
const DROP_AT_ONCE = 2_000;
const TYPING_FOR = 5_000;
/** In messages. */
const LATELY = 500;
/**
 * The names of the rooms in which only administrators write.
 * @type {string[]}
 */
const READ_ONLY = JSON.parse(document.documentElement.dataset.readOnly ?? '[]');

/**
 * @template {Marker} T
 * @param {T} body
 * @returns {Pick<T, keyof Position>}
 */
export const positionOf = ({ epoch, seq, message_id }) => ({ epoch, seq, message_id });

/**
 * @param {Kind} kind
 * @param {string} name
 */
export const keyOf = (kind, name) => `${kind}=${encodeURIComponent(name)}`;

/**
 * @param {StoredMessage} body
 * @returns {Message}
 */
const message = (body) => ({
	...positionOf(body),
	id: body.message_id,
	from: body.sender_username,
	text: body.content,
	at: body.sent_at,
	version: body.version,
	retracted: body.retracted ?? false,
	reactions: body.reactions ?? {},
	counted: body.changes_seq ?? 0,
	replyTo: body.reply_to,
	thread: body.thread,
	mentions: body.mentions ?? [],
	attachments: body.attachments ?? [],
	moderated: body.moderated,
	moderator: body.moderator,
});

export class Conversation {
	/** @type {(Message | Gap | Note)[]} */
	items = [];
	/**
	 * The messages in `items` by their ids.
	 * @type {Map<string, Message>}
	 */
	byId = new Map();
	/** The absolute index of `items[0]`. */
	base = 0;
	/**
	 * The position in the room's log. Direct messages share the position of the session.
	 * @type {Position | null}
	 */
	position = null;
	/** @type {Marker | null} */
	read = null;
	/** The newest of the user's messages that the peer has read. */
	peerRead = '';
	/** Messages up to this `seq` arrived late: they get the divider `New` even if the user is watching. */
	missedUpTo = 0;
	/** Messages of a room up to this `seq` are older than this visit. */
	replayedTo = 0;
	/** @type {Message | null} */
	divider = null;
	/** Whether the server may have older messages. */
	more = true;
	/** @type {Set<string> | null} */
	members = null;
	/**
	 * The members that came so far, while they come page by page.
	 * @type {Set<string> | null}
	 */
	arriving = null;
	count = 0;
	/** Whether `members` may be out of date. */
	stale = true;
	/** @type {Map<string, number>} */
	typing = new Map();
	draft = '';
	/** The id of the message that the draft answers. */
	answering = '';
	/**
	 * Who was chosen to be mentioned in the draft.
	 * @type {string[]}
	 */
	chosen = [];
	/**
	 * The numbers of a room's entries after `read` that are no messages.
	 * @type {number[]}
	 */
	changes = [];
	/** The numbers of messages after `read`: from other users, and from this user. */
	counted = 0;
	own = 0;
	/** How many of the unread ones mention this user. */
	calls = 0;
	joined = false;
	entering = false;
	/** Why the server refused to let the user enter, or why the user is out. */
	refused = '';
	/**
	 * Set while somebody has sent the user out of the room: the page does not enter it by itself then.
	 * @type {Removal | null}
	 */
	out = null;
	/**
	 * Of a room with rights.
	 * @type {RoomRights | null}
	 */
	rights = null;
	/**
	 * What the page has learnt of its other users.
	 * @type {(Standing & { name: string })[]}
	 */
	users = [];
	/** Slow mode: the time of the next message. */
	slowUntil = 0;
	/** The id of the newest entry about rights. */
	noted = '';
	/**
	 * Set while entering fails for a passing reason.
	 * @type {{ since: number, tries: number, why: string } | null}
	 */
	late = null;
	loading = false;
	/** The earliest time of the next request for older messages. */
	notBefore = 0;
	/** The time of the last `Typing` event. */
	typed = 0;
	/**
	 * Runs until the next read marker is sent.
	 * @type {ReturnType<typeof setTimeout> | null}
	 */
	telling = null;
	/** Whether the user has scrolled back. */
	held = false;

	/**
	 * @param {Kind} kind
	 * @param {string} name
	 * @param {string} me
	 */
	constructor(kind, name, me) {
		this.kind = kind;
		this.name = name;
		this.me = me;
		this.key = keyOf(kind, name);
		this.isRoom = kind === 'room';
		this.isReadOnly = this.isRoom && READ_ONLY.includes(name);
		this.title = this.isRoom ? `#${name}` : name;
		this.target = this.isRoom ? { room: name } : { target_username: name };
	}

	get unread() {
		const { position, read } = this;
		if (!this.isRoom || !position || read?.epoch !== position.epoch) return this.counted;
		const changes = this.changes.filter((seq) => seq > (read.seq ?? 0)).length;
		return Math.max(0, position.seq - (read.seq ?? 0) - this.own - changes);
	}

	/**
	 * Adds a new message, unless it is already there.
	 * @param {StoredMessage} body
	 * @param {boolean} [watched]
	 */
	append(body, watched) {
		if (this.byId.has(body.message_id)) return;
		const item = message(body);
		this.byId.set(item.id, item);
		this.items.push(item);
		this.typing.delete(item.from);
		this.#count(item);
		if (this.#isNew(item) && (!watched || item.seq <= this.missedUpTo)) this.divider ??= item;
		if (this.items.length > (this.held ? 2 : 1) * MOST_ITEMS) {
			const old = this.items.splice(0, this.items.length - MOST_ITEMS + DROP_AT_ONCE);
			for (const { id } of old) this.byId.delete(id ?? '');
			this.base += old.length;
			this.more = true;
		}
		return item;
	}

	/**
	 * Adds a page of older messages.
	 * @param {StoredMessage[]} bodies
	 * @param {boolean} more
	 */
	prepend(bodies, more) {
		const page = bodies.filter((body) => !this.byId.has(body.message_id)).map(message);
		for (const item of page) this.byId.set(item.id, item);
		this.items.unshift(...page);
		this.base -= page.length;
		this.more = more && bodies.length > 0;
		if (this.read) this.#recount();
	}

	/**
	 * An entry of the room's log came that is no message: its number does not count as unread.
	 * @param {StoredMessage} body
	 */
	passed(body) {
		this.position = positionOf(body);
		if (this.#isAfter(body, this.read)) this.changes.push(body.seq);
		if (this.changes.length > MOST_ITEMS) this.changes.shift();
	}

	/**
	 * Adds a line about the rights of the room.
	 * @param {EventBody} body
	 * @param {string} note
	 */
	note({ message_id = '', sent_at: at = 0 }, note) {
		if (message_id <= this.noted) return;
		this.noted = message_id;
		this.items.push({ note, at });
	}

	/** @param {string} [reason] */
	gap(reason) {
		const last = this.items.at(-1);
		// The log has lost its newest entries: others may come in their place.
		if (reason === 'rollback') for (const item of this.byId.values()) item.counted = 0;
		// What is missing may have changed them.
		this.users = [];
		if (!last?.gap) this.items.push({ gap: reason ?? 'trimmed', at: last?.at });
	}

	/**
	 * @param {string} user
	 * @param {boolean} online
	 */
	presence(user, online) {
		if (!online) this.typing.delete(user);
		this.arriving?.[online ? 'add' : 'delete'](user);
		if (!this.members || this.members.has(user) === online) return;
		this.count += online ? 1 : -1;
		this.members[online ? 'add' : 'delete'](user);
	}

	/** The place before which older messages are wanted. */
	before() {
		const first = this.items.find((item) => item.from !== undefined);
		if (first) return { epoch: first.epoch, before: first.seq };
		return this.position && { epoch: this.position.epoch, before: this.position.seq + 1 };
	}

	/** Marks all messages as read. Returns whether the marker has moved. */
	markRead() {
		const newest = this.items.findLast((item) => item.from !== undefined && this.#isNew(item));
		const last = this.isRoom ? this.position : /** @type {Message | undefined} */ (newest);
		this.counted = this.own = this.calls = 0;
		if (!last || !this.#isAfter(last, this.read)) return false;
		this.read = positionOf(last);
		this.changes = [];
		return true;
	}

	/**
	 * Applies the read marker of another device. Markers only move forward, unless the user has set one back. Returns whether the
	 * marker of this page is further.
	 * @param {Marker} [marker]
	 * @param {boolean} [set]
	 */
	readElsewhere(marker, set = false) {
		if (!marker || !(set || this.#isAfter(marker, this.read))) return this.#isAfter(this.read, marker);
		this.read = positionOf(marker);
		this.#recount();
		return false;
	}

	/**
	 * Whether a message mentions this user.
	 * @param {Message} item
	 */
	calledIn(item) {
		return item.mentions.includes(this.me) && item.from !== this.me;
	}

	/** Who can be mentioned: the members, and who wrote lately. */
	get mentionable() {
		const writers = this.items.slice(-LATELY).map(({ from }) => from ?? '');
		const names = new Set([...(this.isRoom ? (this.members ?? []) : [this.name]), ...writers]);
		for (const name of ['', this.me]) names.delete(name);
		return names;
	}

	/** The users that are typing. */
	typists() {
		for (const [user, since] of this.typing) if (Date.now() - since > TYPING_FOR) this.typing.delete(user);
		return [...this.typing.keys()];
	}

	/** @returns {SavedConversation} */
	toJSON() {
		const { kind, name, position, read, peerRead, draft, answering, chosen, counted, own, calls, changes } = this;
		const { rights, users, out } = this;
		const refused = out ? this.refused : '';
		const log = { kind, name, position, read, peerRead, counted, own, calls, changes };
		return { ...log, draft, answering, chosen, rights, users, out, refused };
	}

	/**
	 * In a room, positions of one epoch are ordered by `seq`. Message ids are ordered by time, so they order direct
	 * messages.
	 * @param {Marker | null | undefined} marker
	 * @param {Marker | null | undefined} other
	 */
	#isAfter(marker, other) {
		if (!this.isRoom) return (marker?.message_id ?? '') > (other?.message_id ?? '');
		const seq = other && marker?.epoch === other.epoch ? other.seq : 0;
		return (marker?.seq ?? 0) > (seq ?? 0);
	}

	/** @param {Message} item */
	#isNew(item) {
		return item.from !== this.me && this.#isAfter(item, this.read);
	}

	/** @param {Message} item */
	#count(item) {
		if (this.#isNew(item)) {
			this.counted += 1;
			if (this.calledIn(item)) this.calls += 1;
		} else if (this.#isAfter(item, this.read)) this.own += 1;
	}

	#recount() {
		this.counted = this.own = this.calls = 0;
		for (const item of this.items) if (item.from !== undefined) this.#count(item);
	}
}
