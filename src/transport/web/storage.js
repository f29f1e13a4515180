// Owns what outlives a reload, per user.

const TAB = 'sessionStorage';
const ALL = 'localStorage';

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
		// Full or forbidden: a reload would miss it.
	}
}

/** Who is signed in. The token never leaves the tab. */
export const login = {
	get: () => get(TAB, 'chat:login'),
	lastName: () => get(ALL, 'chat:name'),
	set(value) {
		put(TAB, 'chat:login', value);
		if (value) put(ALL, 'chat:name', value.name);
	},
};

export function storage(name) {
	const state = `chat:state:${encodeURIComponent(name)}`;
	const unsent = `chat:unsent:${encodeURIComponent(name)}:`;
	const save = (value) => [TAB, ALL].forEach((area) => put(area, state, value));
	const store = {
		/** This tab's own first: two may be in different rooms. */
		load: () => get(TAB, state) ?? get(ALL, state) ?? {},
		save,
		/** A key each: tabs don't overwrite another's. Sent by two, it is one. */
		unsent() {
			try {
				const keys = Object.keys(localStorage).filter((key) => key.startsWith(unsent));
				return keys.map((key) => get(ALL, key)).sort((a, b) => a.at - b.at);
			} catch {
				return [];
			}
		},
		keep: (item) => put(ALL, unsent + item.id, item),
		drop: (id) => put(ALL, unsent + id, null),
		clear() {
			for (const { id } of store.unsent()) store.drop(id);
			save(null);
		},
	};
	return store;
}
