/**
 * The types of the page: the server's messages, and the values that the modules exchange. For the type check only: this
 * file is not part of the program.
 */

import type { Conversation } from './conversation.js';

/** A conversation is a room or the direct messages with one peer. */
export type Kind = 'room' | 'peer';

/** A place in a log, directly after a message. */
export interface Position {
	epoch: string;
	seq: number;
	message_id: string;
}

/** A position as the page reports it. Without a `message_id`, it is before the first message. */
export type Claim = Position | { epoch: ''; seq: 0 };

/** A read marker. In direct messages only the message id counts. */
export type Marker = Partial<Position>;

/** A stored message, as the server sends it. */
export interface StoredMessage extends Position {
	sender_username: string;
	content: string;
	sent_at: number;
	client_id?: string;
	room?: string;
	version?: string;
	retracted?: boolean;
	reactions?: Record<string, Reactions>;
	/** The changes up to this `seq` are in `reactions`. */
	changes_seq?: number;
	reply_to?: string;
	thread?: string;
	mentions?: string[];
	attachments?: Attachment[];
	moderated?: boolean;
	/** Who took it back, if that was not its author. */
	moderator?: string;
}

/** Who may enter a room and write there. */
export type RoomKind = 'open' | 'private' | 'announce';
export type Role = 'owner' | 'moderator' | 'member' | 'invited';
export type Action = 'remove' | 'kick' | 'ban' | 'unban' | 'mute' | 'unmute' | 'role' | 'invite';

/** What is known of a user of a room with rights. Times are in Unix ms; 0: without an end. */
export interface Standing {
	role?: Role;
	muted_until?: number;
}

/** What a room with rights is, and what this user is in it. */
export interface RoomRights extends Standing {
	kind: RoomKind;
	topic?: string;
	slow_mode_ms?: number;
	/** The token of the user lets it write, whatever its role. */
	may_write?: boolean;
}

/** An invitation that the user has neither accepted nor dismissed. */
export interface Invitation {
	room: string;
	/** Empty for an administrator. */
	by: string;
	reason?: string;
}

/** Why this user is no longer in a room. */
export interface Removal {
	action: string;
	until?: number;
}

/** A file elsewhere. The size of a picture is in pixels. */
export interface Attachment {
	url: string;
	name: string;
	mime: string;
	bytes: number;
	width?: number;
	height?: number;
}

/** How many users chose a reaction. */
export interface Reactions {
	count: number;
	mine?: boolean;
	/** Of those users that the page saw choosing it: the server tells the others only by their number. */
	names?: string[];
}

/** What a message says beside its text. */
export interface Extras {
	/** The id of the message that it answers. */
	replyTo?: string;
	/** The id of the first message of its thread. */
	thread?: string;
	/** Names of users. */
	mentions?: string[];
}

/** The body of an event. Each type of event has some of these fields. */
export interface EventBody extends Partial<StoredMessage> {
	room?: string;
	target_username?: string;
	reason?: string;
	code?: string;
	message?: string;
	target?: { message_id: string };
	reaction?: string;
	/** Of a read marker that may have gone back. */
	set?: boolean;
	on?: boolean;
	/** Of an entry about the rights of a room. */
	kind?: RoomKind;
	topic?: string;
	slow_mode_ms?: number;
	owner?: string;
	action?: Action | 'private';
	role?: Role;
	until?: number;
}

/** The fields that the answers to `Auth` and `Enter` share. */
interface ResumeAck extends Position {
	already?: boolean;
	recovered?: boolean;
	reason?: string;
	next_seq: number;
	dedupe_ms?: number;
	idle_timeout_ms?: number;
	features?: string[];
}

/** The answer to each request of the page. */
export interface Acks {
	Auth: ResumeAck & { read?: Record<string, string>; read_more?: boolean };
	Enter: ResumeAck & { read?: Marker; rights?: RoomRights };
	Leave: unknown;
	GroupChat: PublishAck;
	PrivateChat: PublishAck;
	Typing: unknown;
	Read: unknown;
	History: { messages: StoredMessage[]; more: boolean };
	Members: { members: string[]; count: number; more: boolean };
	Markers: { markers: { target_username: string; message_id: string }[]; more: boolean };
	Rooms: { rooms: ListedRoom[]; more: boolean };
	Edit: unknown;
	Retract: unknown;
	React: unknown;
	Room: unknown;
	Moderate: unknown;
	Block: unknown;
	Blocked: { users: string[]; more: boolean };
	Ping: { sender_username: string };
}

export interface PublishAck extends Position {
	sent_at: number;
}

/** A room that users can find. */
export interface ListedRoom {
	room: string;
	/** Of its members. */
	count: number;
}

/** Why a request failed. `lost`: the server may have carried it out. `offline`: it was not sent. */
export interface Failure {
	code?: string;
	message?: string;
	outcome?: string;
	retry_after_ms?: number;
}

/** The states of a connection. `connecting` lasts until the page is signed in, `waiting` until `retryAt`. */
export type ConnectionState = 'stopped' | 'connecting' | 'live' | 'waiting';

/** The owner of a connection. */
export interface ConnectionHandler {
	opened(): void;
	closed(): void;
	changed?(): void;
	/** The server refused the connection for good, with this close code. */
	refused?(code: number): void;
	/** A `Ping` was answered. */
	alive?(): void;
	/** The last private message that the page has. */
	received?(): Claim;
	frame?(type: string, body: EventBody): void;
}

/** A message of the timeline. */
export interface Message extends Position, Extras {
	id: string;
	from: string;
	text: string;
	at: number;
	/** The last edit. */
	version?: string;
	/** Its author took it back, or an administrator. */
	retracted: boolean;
	moderated?: boolean;
	moderator?: string;
	mentions: string[];
	attachments: Attachment[];
	reactions: Record<string, Reactions>;
	/** The changes up to this `seq` are in `reactions`. */
	counted: number;
	gap?: undefined;
	note?: undefined;
	state?: undefined;
}

/** A line for missing messages. */
export interface Gap {
	gap: string;
	at?: number;
	id?: undefined;
	from?: undefined;
	note?: undefined;
	state?: undefined;
}

/** A line that says what became of a room with rights, or of a user of it. */
export interface Note {
	note: string;
	at: number;
	id?: undefined;
	from?: undefined;
	gap?: undefined;
	state?: undefined;
}

/** A message of the user, until its stored copy arrives. */
export interface Unsent extends Extras {
	/** The id of the request: the same in all attempts, so that the server stores the message once. */
	id: string;
	key: string;
	kind: Kind;
	to: string;
	from: string;
	text: string;
	at: number;
	state: 'waiting' | 'sending' | 'failed' | 'stored';
	/** Whether an attempt may have been stored. */
	unknown: boolean;
	/** The time of the first attempt that may have been stored. */
	sentAt: number | null;
	since: number;
	tries: number;
	/** Whether the page has entered the room again because of this message. */
	entered: boolean;
	notBefore: number;
	why?: string;
	ack?: PublishAck;
	gap?: undefined;
	note?: undefined;
}

export type Item = Message | Gap | Note | Unsent;

/** The result of a reconnect. */
export interface CaughtUp {
	missed: number;
	gaps: number;
}

/** The part of a conversation that outlives a reload. */
export interface SavedConversation {
	kind: Kind;
	name: string;
	position: Position | null;
	read: Marker | null;
	peerRead: string;
	draft: string;
	answering?: string;
	chosen?: string[];
	calls?: number;
	counted: number;
	own: number;
	changes?: number[];
	rights?: RoomRights | null;
	users?: (Standing & { name: string })[];
	out?: Removal | null;
	refused?: string;
}

export interface SavedState {
	position?: Position;
	conversations?: SavedConversation[];
	invitations?: Invitation[];
}

/** The callbacks of a session. */
export interface SessionHandler {
	changed(): void;
	/** Whether the user looks at the newest messages of the open conversation. */
	watching(): boolean;
	/** Another user's message arrived that is newer than the connection. */
	arrived(conv: Conversation, item: Message): void;
	notice(text: string): void;
	/** The user wants to edit a message, or to answer it. */
	editing(conv: Conversation, item: Message): unknown;
	answering(conv: Conversation, item: Message): unknown;
	/** The user wants to see the message with this id. */
	wanted(conv: Conversation, id: string): void;
	/** The connection ended and must not be retried; the code is a close code or an error code. */
	stopped(code: number | string | undefined, message?: string): void;
}

/** How a message looks: its place in a group, its state. */
export interface Look {
	day: string | false;
	divider: boolean;
	first: boolean;
	last: boolean;
	mine: boolean;
	named: boolean;
	state: 'waiting' | 'sending' | 'failed' | 'stored' | 'read';
	expired: boolean;
	/** What became of it, and of the message that it answers: the last edit, whether it was taken back, reactions. As JSON. */
	revision: string;
}

/** How loud a conversation is: every message notifies, or they are only counted, or not even that. */
export type Level = 'all' | 'counted' | 'muted';

/** What the user chose on this browser. */
export interface Choices {
	theme: 'system' | 'light' | 'dark';
	/** What the number in the title counts. */
	badge: 'messages' | 'conversations' | 'none';
	/** Whether notifications are switched on. */
	notify: boolean;
}

/** The elements of index.html that have an id. */
export interface Elements {
	back: HTMLAnchorElement;
	banner: HTMLElement;
	block: HTMLButtonElement;
	'banner-text': HTMLElement;
	chat: HTMLElement;
	composer: HTMLFormElement;
	copy: HTMLButtonElement;
	cancel: HTMLButtonElement;
	context: HTMLElement;
	'context-text': HTMLElement;
	draft: HTMLTextAreaElement;
	enter: HTMLButtonElement;
	find: HTMLInputElement;
	go: HTMLButtonElement;
	'go-form': HTMLFormElement;
	invitations: HTMLElement;
	jump: HTMLButtonElement;
	kind: HTMLElement;
	known: HTMLDataListElement;
	leave: HTMLButtonElement;
	level: HTMLButtonElement;
	listed: HTMLElement;
	'listed-rooms': HTMLElement;
	live: HTMLElement;
	make: HTMLElement;
	manage: HTMLButtonElement;
	me: HTMLElement;
	members: HTMLElement;
	name: HTMLInputElement;
	notice: HTMLElement;
	notify: HTMLInputElement;
	'notify-hint': HTMLElement;
	older: HTMLElement;
	pane: HTMLElement;
	peers: HTMLElement;
	people: HTMLElement;
	'people-close': HTMLButtonElement;
	'people-toggle': HTMLButtonElement;
	preferences: HTMLDialogElement;
	'preferences-form': HTMLFormElement;
	'preferences-open': HTMLButtonElement;
	problem: HTMLElement;
	refusal: HTMLElement;
	'refusal-text': HTMLElement;
	reenter: HTMLButtonElement;
	retry: HTMLButtonElement;
	rooms: HTMLElement;
	scroller: HTMLElement;
	send: HTMLButtonElement;
	'sign-in': HTMLFormElement;
	'sign-in-hint': HTMLElement;
	'sign-in-title': HTMLElement;
	'sign-out': HTMLButtonElement;
	subtitle: HTMLElement;
	suggestions: HTMLElement;
	switcher: HTMLDialogElement;
	timeline: HTMLElement;
	title: HTMLElement;
	token: HTMLInputElement;
	topic: HTMLElement;
	'token-show': HTMLButtonElement;
	typing: HTMLElement;
	unsupported: HTMLElement;
}
