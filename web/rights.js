// @ts-check
// What users may do in a room with rights, as far as the page knows, and the words about it. Keeps nothing: the conversation
// has the state. The server decides.

import { composer } from './strings.js';
import { notes, rights as texts } from './strings-rights.js';

/** @import { Conversation } from './conversation.js' */
/** @import { EventBody, Role, Standing } from './page.d.ts' */

const RANKS = { owner: 3, moderator: 2, member: 1, invited: 0 };
const MODERATOR = RANKS.moderator;

const time = new Intl.DateTimeFormat([], { dateStyle: 'medium', timeStyle: 'short' });

/** @param {Role | undefined} role */
export const rankOf = (role) => (role && RANKS[role]) ?? 0;

/**
 * A kind that the page doesn't know is shown as an open room.
 * @param {Conversation} conv
 */
export function kindOf({ rights }) {
	const kind = rights?.kind ?? 'open';
	return kind in texts.kinds ? kind : 'open';
}

/**
 * What the page knows of a user.
 * @param {Conversation} conv
 * @param {string} user
 * @returns {Standing}
 */
export function standingOf(conv, user) {
	const known = user === conv.me ? conv.rights : conv.users.find(({ name }) => name === user);
	return known ?? {};
}

/**
 * Whether the user is a moderator or an owner.
 * @param {Conversation} conv
 */
export const moderates = (conv) => conv.joined && rankOf(conv.rights?.role) >= MODERATOR;

/**
 * Whether the user may act on another one: who has no role that the page knows may have one.
 * @param {Conversation} conv
 * @param {string} other
 */
export const outranks = (conv, other) =>
	moderates(conv) && other !== conv.me && rankOf(conv.rights?.role) > rankOf(standingOf(conv, other).role);

/** @param {number | undefined} until */
const isOver = (until) => Boolean(until && until <= Date.now());

/** @param {Standing} standing */
export const isMuted = ({ muted_until: until }) => until !== undefined && !isOver(until);

/**
 * Why the user can't write in a conversation; empty if that is possible.
 * @param {Conversation} conv
 */
export function whyReadOnly(conv) {
	const { rights, out, isReadOnly } = conv;
	if (out) return texts.outside;
	if (isReadOnly) return composer.readOnly;
	if (rights && isMuted(rights)) return texts.muted(rights.muted_until ? time.format(rights.muted_until) : '');
	const mayWrite = rights?.kind !== 'announce' || rights.may_write || rankOf(rights.role) >= MODERATOR;
	return mayWrite ? '' : texts.announce;
}

/** @param {Conversation} conv */
export const isSlow = (conv) => conv.slowUntil > Date.now();

/**
 * The user has written, or was too early. Returns whether the room is in slow mode for this user.
 * @param {Conversation} conv
 * @param {number} [wait] In ms.
 */
export function waitsSlow(conv, wait = conv.rights?.slow_mode_ms ?? 0) {
	const counts = Boolean(conv.rights?.slow_mode_ms) && rankOf(conv.rights?.role) < MODERATOR;
	if (counts) conv.slowUntil = Date.now() + wait;
	return counts;
}

/**
 * Whether the page offers to enter the room again.
 * @param {Conversation} conv
 */
export function mayReturn({ out, refused, rights }) {
	if (!out) return Boolean(refused);
	if (out.action === 'ban') return isOver(out.until);
	return out.action === 'kick' || (out.action === 'remove' && rights?.kind !== 'private');
}

/**
 * Applies an entry of the room's log.
 * @param {Conversation} conv
 * @param {'Room' | 'Moderation'} type
 * @param {EventBody} body
 */
export function change(conv, type, body) {
	const { kind, topic, slow_mode_ms, owner, target_username: target = '' } = body;
	// An administrator can make any room one with rights.
	const rights = (conv.rights ??= { kind: kind ?? 'open' });
	if (type === 'Moderation') moderate(conv, target, body);
	rights.kind = kind ?? rights.kind;
	if (topic !== undefined) rights.topic = topic;
	if (slow_mode_ms !== undefined) rights.slow_mode_ms = slow_mode_ms;
	if (owner !== undefined) become(conv, owner, { role: 'owner' });
	if (!rights.slow_mode_ms || rankOf(rights.role) >= MODERATOR) conv.slowUntil = 0;
}

/**
 * @param {Conversation} conv
 * @param {string} user
 * @param {EventBody} body
 */
function moderate(conv, user, { action, role, until = 0 }) {
	if (action === 'role') become(conv, user, { role });
	else if (action === 'invite') become(conv, user, { role: 'invited' });
	else if (action === 'remove' || action === 'ban') become(conv, user, { role: undefined });
	else if (action === 'mute') become(conv, user, { muted_until: until });
	else if (action === 'unmute') become(conv, user, { muted_until: undefined });
}

/**
 * @param {Conversation} conv
 * @param {string} name
 * @param {Standing} changes
 */
function become(conv, name, changes) {
	const before = standingOf(conv, name);
	if (name === conv.me) Object.assign(before, changes);
	else conv.users = [...conv.users.filter((user) => user.name !== name), { ...before, name, ...changes }];
}

/** @type {(text: string, reason: string | undefined) => string} */
const because = (text, reason) => (reason ? texts.because(text, reason) : text);

/**
 * What the user reads after having been taken out of a room.
 * @param {EventBody} body
 */
export function whyRemoved({ action, until, reason }) {
	const end = until ? time.format(until) : '';
	const { kick, ban, remove, closed } = texts.removed;
	const why = new Map([
		['kick', kick],
		['ban', ban(end)],
		['private', closed],
	]);
	return because(why.get(action ?? '') ?? remove, reason);
}

/**
 * What everybody reads about an entry.
 * @param {string} me
 * @param {'Room' | 'Moderation'} type
 * @param {EventBody} body
 * @param {boolean} isNew Whether the room had no rights before.
 */
export function noteOf(me, type, body, isNew) {
	const { sender_username: sender = '', target_username: target = '', action, role, until, reason } = body;
	const by = sender === me ? notes.you : sender || notes.admin;
	if (type === 'Room') {
		const { kind, topic, slow_mode_ms: slow } = body;
		// A newer server may know more kinds.
		const parts = [kind && (isNew ? notes.made : notes.kinds)[kind]?.(by)];
		if (topic !== undefined) parts.push(topic ? notes.topic(by, topic) : notes.noTopic(by));
		if (slow !== undefined) parts.push(slow ? notes.slow(by, slow / 1000) : notes.noSlow(by));
		return parts.filter(Boolean).join(' · ');
	}
	if (action === 'role' && sender === target) return notes.accepted(by);
	if (action === 'remove' && sender === target) return notes.gaveUp(by);
	const who = target === me ? notes.whoYou : target;
	if (action === 'role') return because(notes.role(by, who, role ?? 'member'), reason);
	const say = notes.actions[action ?? ''] ?? notes.other;
	return because(say(by, who, until ? time.format(until) : ''), reason);
}
