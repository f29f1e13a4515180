// @ts-check
// Owns the first screen, which also appears when a token is no longer valid. The server checks the input.

import { ownerOf } from './connection.js';
import { $, say, tidy } from './dom.js';
import { connection, signIn as texts } from './strings.js';

/** @import { Failure } from './page.d.ts' */

/**
 * @typedef {object} Options
 * @property {string | null} name The suggested name.
 * @property {string} room The room to join.
 * @property {string} [problem]
 * @property {boolean} [needsToken]
 * @property {boolean} [again] The user stays, and needs another token.
 */

/**
 * @param {Options} options
 * @param {(name: string, token: string) => void} done
 */
export function signIn({ name, room, problem = '', needsToken = false, again = false }, done) {
	const form = $('sign-in');
	const token = $('token');
	const tokenLabel = /** @type {HTMLElement} */ (token.parentElement);
	say($('sign-in-title'), again ? texts.again : texts.welcome);
	say($('enter'), again ? texts.continue : texts.join(room));
	say($('problem'), problem);
	if (name) $('name').value = name;
	$('name').readOnly = again;
	token.value = '';
	/** @param {boolean} withToken */
	const ask = (withToken) => {
		const hint = withToken ? texts.tokenNames : texts.chooseName;
		say($('sign-in-hint'), again ? texts.allKept : hint);
		tokenLabel.hidden = !withToken;
		form.hidden = false;
		(withToken ? token : $('name')).focus();
	};
	ask(needsToken);
	$('token-show').onclick = () => {
		$('name').value = '';
		ask(true);
	};
	form.onsubmit = async (event) => {
		event.preventDefault();
		// What a password manager writes into a hidden field is not from the user.
		const given = tokenLabel.hidden ? '' : token.value.trim();
		let chosen = tidy($('name').value);
		let why = texts.nameOrToken;
		if (!chosen && given) {
			say($('problem'), texts.connecting);
			$('enter').disabled = true;
			try {
				chosen = (await ownerOf(given)).sender_username;
			} catch (error) {
				why = /** @type {Failure} */ (error).message ?? connection.none;
			}
			$('enter').disabled = false;
		}
		token.value = '';
		form.hidden = Boolean(chosen);
		if (chosen) return done(chosen, given);
		say($('problem'), why);
		ask(!tokenLabel.hidden);
	};
}
