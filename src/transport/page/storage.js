// Owns what outlives a reload, per user. Decides nothing. Called by the session, the outbox and app.js.

function get(area, key) {
	try {
		return JSON.parse(window[area].getItem(key));
	} catch {
		return null;
	}
}

function put(area, key, value) {
	try {
		if (value === null) window[area].removeItem(key);
		else window[area].setItem(key, JSON.stringify(value));
	} catch {
		// Full or forbidden: only a reload would miss it.
	}
}

/** Who is signed in. The token never leaves the tab. */
export const login = {
	get: () => get('sessionStorage', 'chat:login'),
	lastName: () => get('localStorage', 'chat:name'),
	set(value) {
		put('sessionStorage', 'chat:login', value);
		if (value) put('localStorage', 'chat:name', value.name);
	},
};

export function storage(name) {
	const state = `chat:state:${encodeURIComponent(name)}`;
	const unsent = `chat:unsent:${encodeURIComponent(name)}:`;
	const save = (value) => ['sessionStorage', 'localStorage'].forEach((area) => put(area, state, value));
	const store = {
		/** This tab's before another's: two tabs may be in different rooms. */
		load: () => get('sessionStorage', state) ?? get('localStorage', state) ?? {},
		save,
		/** A key each: tabs can't overwrite another's; if two send the same, its id makes it one. */
		unsent() {
			try {
				const keys = Object.keys(localStorage).filter((key) => key.startsWith(unsent));
				return keys.map((key) => get('localStorage', key)).sort((a, b) => a.at - b.at);
			} catch {
				return [];
			}
		},
		keep: (item) => put('localStorage', unsent + item.id, item),
		drop: (id) => put('localStorage', unsent + id, null),
		clear() {
			for (const { id } of store.unsent()) store.drop(id);
			save(null);
		},
	};
	return store;
}
