// @ts-check
// Shows the state of the connection: nothing for a short interruption, then a countdown, then the result.

import { $, announce, say } from './dom.js';
import * as texts from './strings.js';

/** @import { Session } from './session.js' */

const PATIENCE = 2_000;
const SHOW_RESULT = 5_000;

/** @param {Session} session */
export function banner(session) {
	const node = $('banner');
	node.hidden = true;
	/** Whether the user has seen that the connection was lost. */
	let away = false;
	let until = 0;
	/** What the banner is about, for screen readers. */
	let topic = '';
	$('retry').onclick = session.connection.retryNow;

	/**
	 * @param {string} text
	 * @param {string} look
	 * @param {boolean} [waits]
	 * @param {string} [why]
	 */
	function show(text, look, waits, why = '') {
		// Screen readers speak each change of the state, but not each second of the countdown.
		if (node.hidden || topic !== look + why) announce(text);
		topic = look + why;
		node.hidden = false;
		node.className = look;
		$('retry').hidden = !waits;
		say($('banner-text'), text);
	}

	function render() {
		const { state, lostAt, retryAt, live } = session.connection;
		const now = Date.now();
		const back = live ? session.caughtUp : null;
		const waiting = live ? session.list('room').find((room) => room.late) : null;
		if (waiting?.late) {
			away ||= Boolean(back);
			const { since, why } = waiting.late;
			if (now - since > PATIENCE) show(texts.connection.cannotJoin(waiting.title, why), 'late');
		} else if (back) {
			session.caughtUp = null;
			if (away || back.gaps) until = now + SHOW_RESULT;
			if (back.gaps) show(texts.connection.backWithGaps, 'gaps');
			else if (away) {
				show(back.missed ? texts.connection.backWithMissed(back.missed) : texts.connection.back, 'back');
			}
			away = false;
		} else if (live) node.hidden = !away && now > until;
		else if (state !== 'stopped' && now - lostAt > PATIENCE) {
			const seconds = Math.ceil((retryAt - now) / 1000);
			const waits = state === 'waiting' && seconds > 0;
			const why = navigator.onLine ? session.connection.why || texts.connection.none : texts.connection.offline;
			away = true;
			const { tryingAgain, tryingNow } = texts.connection;
			show(waits ? tryingAgain(why, seconds) : tryingNow(why), 'lost', waits, why);
		}
	}

	return { render };
}
