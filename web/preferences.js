// @ts-check
// Owns the dialog in which the user makes the choices for this browser. Each takes effect at once.

import { choices, choose } from './choices.js';
import { $, announce, say } from './dom.js';
import { permission } from './notifications.js';
import { notifications as texts } from './strings.js';

/** @import { Choices } from './page.d.ts' */

/** @param {() => void} changed */
export function openPreferences(changed) {
	const form = $('preferences-form');
	const notify = $('notify');

	function show() {
		const given = permission();
		for (const name of /** @type {const} */ (['theme', 'badge'])) {
			const radios = /** @type {RadioNodeList} */ (form.elements.namedItem(name));
			radios.value = choices[name];
		}
		notify.checked = choices.notify && given === 'granted';
		notify.disabled = given === 'unsupported' || given === 'denied';
		say($('notify-hint'), texts.hints[given]);
	}

	form.onchange = async () => {
		const chosen = new FormData(form);
		const wants = notify.checked;
		choose(/** @type {Partial<Choices>} */ ({ theme: chosen.get('theme'), badge: chosen.get('badge') }));
		if (!wants) choose({ notify: false });
		else if (!choices.notify || permission() === 'default') {
			// Only here, where the user has asked for it.
			choose({ notify: (await Notification.requestPermission()) === 'granted' });
		}
		show();
		changed();
	};
	show();
	// Emptied behind the dialog: a text in it would be spoken again when the dialog closes.
	announce('');
	$('preferences').showModal();
}
