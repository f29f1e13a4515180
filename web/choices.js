// @ts-check
// Owns what the user chose on this browser: colours, the number in the title, notifications, and how loud each conversation
// is. All tabs share it.

import { shared } from './storage.js';

/** @import { Choices, Level } from './page.d.ts' */
/** @import { Conversation } from './conversation.js' */

/** @type {Choices} */
const DEFAULTS = { theme: 'system', badge: 'messages', notify: false };
const CHOICES = 'chat:choices';

/** The choices of the user. */
export const choices = { ...DEFAULTS, ...shared.get(CHOICES) };

/** @param {Partial<Choices>} changes */
export function choose(changes) {
	Object.assign(choices, changes);
	shared.put(CHOICES, choices);
	applyTheme();
}

/** The script theme.js does the same before the page is drawn for the first time. */
function applyTheme() {
	const { dataset } = document.documentElement;
	if (choices.theme === 'system') delete dataset.theme;
	else dataset.theme = choices.theme;
}

/**
 * The levels of one user.
 * @param {string} name
 */
export function levels(name) {
	const key = `chat:levels:${encodeURIComponent(name)}`;
	/** @type {Record<string, Level>} */
	let chosen = shared.get(key) ?? {};
	return {
		/**
		 * @param {Conversation} conv
		 * @returns {Level}
		 */
		of(conv) {
			const known = levelsOf(conv);
			// Another version of the page may have stored others.
			return known.find((level) => level === chosen[conv.key]) ?? known[0];
		},
		/**
		 * @param {Conversation} conv
		 * @param {Level} level
		 */
		set(conv, level) {
			// Another tab may have changed others.
			chosen = shared.get(key) ?? chosen;
			if (level === levelsOf(conv)[0]) delete chosen[conv.key];
			else chosen[conv.key] = level;
			shared.put(key, chosen);
		},
		/** @param {string | null} changed The key in the storage that another tab has changed. */
		reload(changed) {
			if (changed === key) chosen = shared.get(key) ?? {};
		},
		clear() {
			chosen = {};
			shared.put(key, null);
		},
	};
}

/**
 * The levels that a conversation can have; the first is that of a new one.
 * @param {Conversation} conv
 * @returns {Level[]}
 */
export const levelsOf = (conv) => (conv.isRoom ? ['counted', 'all', 'muted'] : ['all', 'muted']);

addEventListener('storage', ({ key }) => {
	if (key !== CHOICES) return;
	Object.assign(choices, DEFAULTS, shared.get(CHOICES));
	applyTheme();
});
