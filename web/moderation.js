// @ts-check
// What owners and moderators do with a room and its users: the menus, and what they send. Keeps nothing.

import { keyOf } from './conversation.js';
import { $ } from './dom.js';
import { openMenu } from './menu.js';
import { openPrompt } from './prompt.js';
import { isMuted, rankOf, standingOf } from './rights.js';
import { fixed } from './strings.js';
import { moderation as texts } from './strings-rights.js';

/** @import { Conversation } from './conversation.js' */
/** @import { Entry } from './menu.js' */
/** @import { RoomKind } from './page.d.ts' */
/** @import { Session } from './session.js' */

const ROLES = /** @type {const} */ (['owner', 'moderator', 'member']);
const KINDS = /** @type {const} */ (['open', 'private', 'announce']);
/** In seconds. */
const SLOW = [0, 10, 60, 600, 3600];
const MINUTE = 60_000;
/** In minutes; 0: without an end. */
const DURATIONS = [0, 60, 1440, 10080];

/**
 * Makes a room with rights, and opens it.
 * @param {Session} session
 * @param {string} name
 * @param {string} kind
 */
export async function makeRoom(session, name, kind) {
	const problem = await session.change({ target: { room: name } }, 'Room', { kind });
	if (problem) return session.on.notice(problem);
	session.open('room', name);
	location.hash = keyOf('room', name);
}

/**
 * Shows why something failed.
 * @param {Session} session
 * @param {Conversation} conv
 * @param {'Room' | 'Moderate'} type
 * @param {object} change
 */
async function tried(session, conv, type, change) {
	const problem = await session.change(conv, type, change);
	if (problem) session.on.notice(problem);
}

/**
 * Opens the menu of a user: what the own role allows.
 * @param {Session} session
 * @param {Conversation} conv
 * @param {string} name
 * @param {HTMLElement} button
 * @param {() => HTMLElement | null} opener The button may be built anew meanwhile.
 */
export function openMember(session, conv, name, button, opener) {
	const mine = conv.rights?.role;
	const known = standingOf(conv, name);
	/** @type {Entry[]} */
	const entries = ROLES.filter(
		(role) => role !== known.role && (rankOf(role) < rankOf(mine) || mine === 'owner'),
	).map((role) => ({
		label: texts.give[role],
		run: () => tried(session, conv, 'Moderate', { action: 'role', target_username: name, role }),
	}));

	/** @param {'kick' | 'mute' | 'ban' | 'remove'} action */
	const ask = (action) => {
		const hasEnd = action === 'mute' || action === 'ban';
		const options = new Map(DURATIONS.map((minutes) => [String(minutes), texts.duration(minutes)]));
		const question = {
			label: texts.title(texts.acts[action], name),
			titled: true,
			field: texts.reason,
			send: texts.acts[action],
			choice: hasEnd ? { label: texts.howLong, options } : undefined,
		};
		const send = (/** @type {string} */ reason, /** @type {string} */ minutes) => {
			const until = Number(minutes) ? Date.now() + Number(minutes) * MINUTE : undefined;
			const body = { action, target_username: name, reason: reason || undefined, until };
			return session.change(conv, 'Moderate', body);
		};
		const at = opener();
		if (at) openPrompt(at, question, send, opener);
	};
	/** @param {'kick' | 'mute' | 'ban' | 'remove'} action */
	const entry = (action) => entries.push({ label: texts.more(texts.acts[action]), run: () => ask(action) });
	if (isMuted(known))
		entries.push({
			label: texts.unmute,
			run: () => tried(session, conv, 'Moderate', { action: 'unmute', target_username: name }),
		});
	else entry('mute');
	entry('kick');
	if (known.role || conv.rights?.kind === 'private') entry('remove');
	entry('ban');
	openMenu(button, texts.actions(name), entries, opener);
}

/**
 * Opens the menu of the room: what its moderators do, and its owners.
 * @param {Session} session
 */
export function openManage(session) {
	const conv = session.current;
	const rights = conv?.rights;
	if (!conv || !rights) return;
	const button = $('manage');
	/** @param {'invite' | 'unban'} action */
	const byName = (action) => {
		const send = action === 'invite' ? texts.invite : texts.unban;
		const question = { label: texts.more(send), field: fixed.theirName, send, needed: texts.nameNeeded };
		openPrompt(button, question, (name) => session.change(conv, 'Moderate', { action, target_username: name }));
	};
	const topic = () => {
		const question = { label: texts.changeTopic, field: texts.topic, send: texts.save, value: rights.topic };
		openPrompt(button, question, (topic) => session.change(conv, 'Room', { topic }));
	};
	const slow = () => {
		const choices = SLOW.map((seconds) => ({
			label: texts.slowFor(seconds),
			checked: (rights.slow_mode_ms ?? 0) === seconds * 1000,
			run: () => tried(session, conv, 'Room', { slow_mode_ms: seconds * 1000 }),
		}));
		openMenu(button, texts.slow, choices);
	};
	const kinds = () => {
		const choices = KINDS.map((/** @type {RoomKind} */ kind) => ({
			label: texts.kinds[kind],
			checked: rights.kind === kind,
			run: () => tried(session, conv, 'Room', { kind }),
		}));
		openMenu(button, texts.kind, choices);
	};
	/** @type {Entry[]} */
	const entries = [
		{ label: texts.more(texts.invite), run: () => byName('invite') },
		{ label: texts.more(texts.changeTopic), run: topic },
		{ label: texts.more(texts.slow), run: slow },
		{ label: texts.more(texts.unban), run: () => byName('unban') },
	];
	if (rights.role === 'owner') entries.push({ label: texts.more(texts.kind), run: kinds });
	openMenu(button, fixed.manageRoom, entries);
}
