// @ts-check
// Owns the dialog that opens any room or direct messages with any user.

import { keyOf } from './conversation.js';
import { $, announce, el, tidy } from './dom.js';
import { byName } from './order.js';

/** @import { Session } from './session.js' */

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
		// Enter presses the first button, which is for rooms.
		const guessed =
			$('find').matches(':focus') && people.has(typed) && !session.conversations.has(keyOf('room', name));
		const isPerson = guessed || submitter?.id === 'write';
		location.hash = keyOf(isPerson ? 'peer' : 'room', isPerson ? typed : name);
	};
	// Emptied behind the dialog: a text in it would be spoken again when the dialog closes.
	announce('');
	$('switcher').showModal();
}
