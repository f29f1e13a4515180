// Owns the first screen, also shown when a token has ended. The server checks.

import { ownerOf } from './connection.js';
import { $, say, tidy } from './dom.js';

export function signIn({ name, room, problem = '', needsToken = false, again = false }, done) {
	const form = $('sign-in');
	const token = $('token');
	say($('sign-in-title'), again ? 'Sign in again' : 'Welcome');
	say($('enter'), again ? 'Continue' : `Join #${room}`);
	say($('problem'), problem);
	if (name) $('name').value = name;
	$('name').readOnly = again;
	token.value = '';
	const ask = (show) => {
		const hint = show ? 'Your token knows your name.' : 'Pick a name and start to chat.';
		say($('sign-in-hint'), again ? 'Your rooms and messages are kept.' : hint);
		token.parentNode.hidden = !show;
		form.hidden = false;
		(show ? token : $('name')).focus();
	};
	ask(needsToken);
	$('token-show').onclick = () => {
		$('name').value = '';
		ask(true);
	};
	form.onsubmit = async (event) => {
		event.preventDefault();
		const given = token.value.trim();
		let chosen = tidy($('name').value);
		let why = 'Pick a name or give a token.';
		if (!chosen && given) {
			say($('problem'), 'Connecting…');
			$('enter').disabled = true;
			({ sender_username: chosen, message: why = why } = await ownerOf(given).catch((error) => error));
			$('enter').disabled = false;
		}
		token.value = '';
		form.hidden = Boolean(chosen);
		if (chosen) return done(chosen, given);
		say($('problem'), why);
		ask(!token.parentNode.hidden);
	};
}
