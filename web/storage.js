// @ts-check
// Stores what outlives a reload, for each user.

/** @import { SavedState, Unsent } from './page.d.ts' */

/** In ms: how long another tab may take to answer. */
const ANSWER_WITHIN = 500;
/** For the tabs of this site: questions `{ wanted }` and answers `{ name, token }`. */
const tabs = new BroadcastChannel('chat:login');

const TAB = 'sessionStorage';
const ALL = 'localStorage';

/**
 * @param {typeof TAB | typeof ALL} area
 * @param {string} key
 * @returns {any}
 */
function get(area, key) {
	try {
		return JSON.parse(window[area].getItem(key) ?? 'null');
	} catch {
		return null;
	}
}

/**
 * @param {typeof TAB | typeof ALL} area
 * @param {string} key
 * @param {unknown} value `null` removes the key.
 */
function put(area, key, value) {
	try {
		if (value === null) window[area].removeItem(key);
		else window[area].setItem(key, JSON.stringify(value));
	} catch {
		// The storage is full or forbidden: only a reload needs the value.
	}
}

/** What all tabs share. */
export const shared = {
	/** @param {string} key */
	get: (key) => get(ALL, key),
	/** @type {(key: string, value: unknown) => void} */
	put: (key, value) => put(ALL, key, value),
};

/** @param {MessageEvent} event */
tabs.onmessage = ({ data }) => {
	const mine = login.get();
	if (mine?.token && mine.name === data.wanted) tabs.postMessage(mine);
};

/** The signed-in user. The token is in the open tabs only, and ends with the last of them. */
export const login = {
	/** @returns {{ name: string, token?: string } | null} */
	get: () => get(TAB, 'chat:login'),
	/** @returns {string | null} */
	lastName: () => get(ALL, 'chat:name'),
	/**
	 * The token with which this user is signed in to another tab.
	 * @param {string} name
	 * @returns {Promise<string | null>}
	 */
	ofOtherTab(name) {
		return new Promise((found) => {
			const answers = new BroadcastChannel('chat:login');
			/** @param {string | null} token */
			const finish = (token) => {
				answers.close();
				found(token);
			};
			/** @param {MessageEvent} event */
			answers.onmessage = ({ data }) => data.name === name && finish(data.token);
			answers.postMessage({ wanted: name });
			setTimeout(finish, ANSWER_WITHIN, null);
		});
	},
	/** @param {{ name: string, token?: string } | null} value */
	set(value) {
		put(TAB, 'chat:login', value);
		if (value) put(ALL, 'chat:name', value.name);
	},
};

/** @typedef {ReturnType<typeof storage>} Storage */

/** @param {string} name */
export function storage(name) {
	const state = `chat:state:${encodeURIComponent(name)}`;
	const unsent = `chat:unsent:${encodeURIComponent(name)}:`;
	/** @param {unknown} value */
	const save = (value) => {
		put(TAB, state, value);
		put(ALL, state, value);
	};
	const store = {
		/**
		 * The state of this tab comes first: two tabs may have different rooms.
		 * @returns {SavedState}
		 */
		load: () => get(TAB, state) ?? get(ALL, state) ?? {},
		save,
		/**
		 * Each message has its own key, so that tabs do not overwrite each other's. If two tabs send the same message, the
		 * server stores it once.
		 * @returns {Unsent[]}
		 */
		unsent() {
			try {
				const keys = Object.keys(localStorage).filter((key) => key.startsWith(unsent));
				return keys.map((key) => get(ALL, key)).sort((a, b) => a.at - b.at);
			} catch {
				return [];
			}
		},
		/** @param {Unsent} item */
		keep: (item) => put(ALL, unsent + item.id, item),
		/** @param {string} id */
		drop: (id) => put(ALL, unsent + id, null),
		clear() {
			for (const { id } of store.unsent()) store.drop(id);
			save(null);
		},
	};
	return store;
}
