// @ts-check
// Reads what comes in pages: lists to their end, and earlier messages. Keeps nothing.

import { isPassing, isSilent } from './outbox.js';

/** @import { Conversation } from './conversation.js' */
/** @import { Acks, Failure, ListedRoom } from './page.d.ts' */
/** @import { Session } from './session.js' */

/** The most names of one page. */
export const MOST_NAMES = 1000;
/** The most messages of one page. */
export const PAGE = 80;
/** In ms: until a request that failed is sent again. */
export const ASK_AGAIN = 2_000;

/**
 * Adds all members of a room. Returns their number. Users who enter or leave meanwhile are for the caller to add or remove.
 * @param {(page: { after?: string, limit: number }) => Promise<Acks['Members']>} ask
 * @param {Set<string>} names
 */
async function addMembers(ask, names) {
	for (let after; ;) {
		const page = await ask({ after, limit: MOST_NAMES });
		for (after of page.members) names.add(after);
		if (!page.more || !page.members.length) return page.count;
	}
}

/**
 * The rooms that users can find, up to a number that a person can look through.
 * @param {(page: { after?: string }) => Promise<Acks['Rooms']>} ask
 */
export async function listedRooms(ask) {
	/** @type {ListedRoom[]} */
	const rooms = [];
	for (let more = true; more && rooms.length < MOST_NAMES;) {
		const page = await ask({ after: rooms.at(-1)?.room });
		rooms.push(...page.rooms);
		more = page.more && page.rooms.length > 0;
	}
	return rooms;
}

/**
 * All read markers of the user by peer: those in the answer to `Auth`, and the others if there are more.
 * @param {(page: { after?: string }) => Promise<Acks['Markers']>} ask
 * @param {Acks['Auth']} ack
 */
export async function allMarkers(ask, { read = {}, read_more: more = false }) {
	// A user can have the name of a property that every object has.
	const markers = new Map(Object.entries(read));
	/** @type {string | undefined} */
	let after;
	while (more) {
		// If the connection is lost, the next `Auth` brings them again.
		const page = await ask({ after }).catch(() => ({ markers: [], more: false }));
		for (const { target_username, message_id } of page.markers) {
			markers.set(target_username, message_id);
			after = target_username;
		}
		more = page.more && page.markers.length > 0;
	}
	return markers;
}

/**
 * @param {Session} session
 * @param {Conversation} conv
 */
export async function loadMembers(session, conv) {
	if (conv.arriving) return;
	const members = (conv.arriving = new Set());
	const count = await addMembers((page) => session.ask('Members', conv, page), members).catch(() => null);
	if (count !== null && !conv.out) Object.assign(conv, { members, count, stale: false });
	conv.arriving = null;
	session.changed();
}

/**
 * Loads the page of messages before those that are loaded.
 * @param {Session} session
 * @param {Conversation} conv
 */
export async function loadOlder(session, conv) {
	if (conv.loading || !conv.more || !session.canSay(conv) || Date.now() < conv.notBefore) return;
	conv.loading = true;
	try {
		const { messages, more } = await session.ask('History', conv, { ...conv.before(), limit: PAGE });
		conv.prepend(messages, more);
	} catch (error) {
		const { code } = /** @type {Failure} */ (error);
		conv.notBefore = Date.now() + ASK_AGAIN;
		if (!isSilent(code) && !isPassing(code)) conv.more = false;
	}
	conv.loading = false;
	session.changed();
}
