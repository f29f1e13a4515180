// @ts-check
// Owns the dialog that opens any room or direct messages with any user.

import { keyOf } from './conversation.js';
import { $, announce, el, tidy } from './dom.js';
import { makeRoom } from './moderation.js';
import { byName } from './order.js';
import { listedRooms } from './pages.js';
import { header as texts } from './strings.js';

/** @import { ListedRoom } from './page.d.ts' */
/** @import { Session } from './session.js' */

/** The most rooms that are shown at a time: those that match what is typed. */
const MOST_ROOMS = 100;

/** @param {Session} session */
export function switchTo(session) {
	const people = new Set(session.all.flatMap((conv) => (conv.isRoom ? [...(conv.members ?? [])] : conv.name)));
	people.delete(session.name);
	const rooms = session.list('room').map(({ title }) => title);
	const known = [...rooms.sort(byName), ...[...people].sort(byName)];
	$('known').replaceChildren(...known.map((value) => el('option', { value })));
	$('find').value = '';
	$('go-form').onsubmit = ({ submitter }) => {
		const typed = tidy($('find').value);
		const name = typed.replace(/^#/, '');
		const kind = submitter?.dataset.kind;
		if (kind) return makeRoom(session, name, kind);
		// Enter presses the first button, which is for rooms.
		const guessed =
			$('find').matches(':focus') && people.has(typed) && !session.conversations.has(keyOf('room', name));
		const isPerson = guessed || submitter?.id === 'write';
		location.hash = keyOf(isPerson ? 'peer' : 'room', isPerson ? typed : name);
	};
	// Rights belong to names, so the server has to know who is who.
	$('make').hidden = !session.features.has('room') || !session.connection.token;
	// Emptied behind the dialog: a text in it would be spoken again when the dialog closes.
	announce('');
	showRooms(session);
	$('switcher').showModal();
}

/**
 * Shows the rooms that the server lists, as they come.
 * @param {Session} session
 */
async function showRooms(session) {
	/** @type {ListedRoom[]} */
	let rooms = [];
	const draw = () => {
		const typed = tidy($('find').value).replace(/^#/, '').toLowerCase();
		const found = rooms.filter(({ room }) => room.toLowerCase().includes(typed)).slice(0, MOST_ROOMS);
		const links = found.map(({ room, count }) => {
			const props = { href: `#${keyOf('room', room)}`, onclick: () => $('switcher').close() };
			const hash = el('span', { class: 'hash', 'aria-hidden': true }, '#');
			const label = el('span', { class: 'label' }, el('bdi', {}, room));
			return el('li', {}, el('a', props, hash, label, el('small', {}, texts.membersOnline(count))));
		});
		$('listed-rooms').replaceChildren(...links);
		$('listed').hidden = !rooms.length;
	};
	draw();
	$('find').oninput = draw;
	if (!session.features.has('rooms')) return;
	// Without them, the dialog still opens every room.
	rooms = await listedRooms((page) => session.rooms(page)).catch(() => []);
	rooms.sort((a, b) => byName(a.room, b.room));
	draw();
}
