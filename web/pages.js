// @ts-check
// Reads lists that come in pages to their end. Keeps nothing.

/** @import { Acks, ListedRoom } from './page.d.ts' */

/** The most names of one page. */
export const MOST_NAMES = 1000;

/**
 * Adds all members of a room. Returns their number. Users who enter or leave meanwhile are for the caller to add or remove.
 * @param {(page: { after?: string, limit: number }) => Promise<Acks['Members']>} ask
 * @param {Set<string>} names
 */
export async function addMembers(ask, names) {
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
