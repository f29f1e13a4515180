// Owns what is said of the connection: nothing of a hiccup, a countdown, what came back.

import { $, announce, say } from './dom.js';

const PATIENCE = 2_000;
const SHOW_BACK = 5_000;

export function banner(session) {
	const node = $('banner');
	node.hidden = true;
	let away;
	let until = 0;
	$('retry').onclick = session.connection.retryNow;

	function tell(text, look, waits) {
		// The change, not every second of it.
		if (node.hidden || node.className !== look) announce(text);
		node.hidden = false;
		node.className = look;
		$('retry').hidden = !waits;
		say($('banner-text'), text);
	}

	function render() {
		const { state, lostAt, retryAt, live } = session.connection;
		const now = Date.now();
		const back = live && session.caughtUp;
		const late = live && session.list('room').find((room) => room.late);
		if (late) {
			away ||= back;
			if (now - late.late.since > PATIENCE) tell(`Not in ${late.title} yet: ${late.late.why}`, 'late');
		} else if (back) {
			session.caughtUp = null;
			if (away || back.gaps) until = now + SHOW_BACK;
			if (back.gaps) tell('Back. Some messages could not be caught up.', 'gaps');
			else if (away) tell(back.missed ? `Back, ${back.missed} caught up.` : 'Back, nothing missed.', 'back');
			away = false;
		} else if (live) node.hidden = !away && now > until;
		else if (state !== 'stopped' && now - lostAt > PATIENCE) {
			const seconds = Math.ceil((retryAt - now) / 1000);
			const waits = state === 'waiting' && seconds > 0;
			const why = navigator.onLine ? 'No connection to the server.' : 'You are offline.';
			away = true;
			tell(`${why} ${waits ? `Trying again in ${seconds} s.` : 'Connecting…'}`, 'lost', waits);
		}
	}

	return { render };
}
