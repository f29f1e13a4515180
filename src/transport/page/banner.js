// Owns what is said about the connection: nothing of a hiccup, then a countdown, then what came back. Called by app.js.

import { $, say } from './dom.js';

const PATIENCE = 2_000;
const SHOW_BACK = 5_000;

export function banner(session) {
	const node = $('banner');
	let away;
	let until;
	const clock = setInterval(render, 250);
	$('retry').onclick = () => session.connection.retryNow();

	function tell(text, look, retry) {
		node.hidden = false;
		node.className = look;
		$('retry').hidden = !retry;
		say($('banner-text'), text);
	}

	function render() {
		const { state, lostAt, retryAt, live } = session.connection;
		const now = Date.now();
		if (live) {
			const back = session.caughtUp;
			session.caughtUp = null;
			if (back && (away || back.gaps)) {
				const count = back.missed ? `${back.missed} caught up` : 'nothing missed';
				if (back.gaps) tell('Back. Some messages could not be caught up.', '');
				else tell(`Back, ${count}.`, 'back');
				until = now + SHOW_BACK;
			}
			if (back) away = false;
			if (!away && !(now < until)) node.hidden = true;
		} else if (state !== 'stopped' && now - lostAt > PATIENCE) {
			const seconds = Math.ceil((retryAt - now) / 1000);
			const waits = state === 'waiting' && seconds > 0;
			const why = navigator.onLine ? 'No connection to the server.' : 'You are offline.';
			// Screen readers hear the change, not every second of it.
			node.ariaLive = away && waits ? 'off' : 'polite';
			away = true;
			tell(waits ? `${why} Trying again in ${seconds} s.` : 'Connecting…', '', waits);
		}
	}

	return {
		render,
		end() {
			clearInterval(clock);
			node.hidden = true;
		},
	};
}
