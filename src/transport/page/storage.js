// Owns what outlives a reload: rooms, positions, drafts and unsent messages, each under the name of the user. It holds
// nothing in memory and decides nothing. Called by the session and the sign-in; where the browser refuses to store, the
// chat goes on without.

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
    // Full or forbidden. Only a reload would miss it.
  }
}

/** Who is signed in. The token never leaves the tab: it is in sessionStorage alone. */
export const login = {
  current: () => get('sessionStorage', 'chat:login'),
  lastName: () => get('localStorage', 'chat:name') ?? '',
  keep(name, token) {
    put('sessionStorage', 'chat:login', { name, token });
    put('localStorage', 'chat:name', name);
  },
  forget: () => put('sessionStorage', 'chat:login', null),
};

export class Storage {
  #state;
  #unsent;

  constructor(name) {
    const user = encodeURIComponent(name);
    this.#state = `chat:state:${user}`;
    this.#unsent = `chat:unsent:${user}:`;
  }

  /** This tab's own state before that of the tab which wrote last: two tabs may be in different rooms. */
  load() {
    return get('sessionStorage', this.#state) ?? get('localStorage', this.#state) ?? {};
  }

  save(state) {
    put('sessionStorage', this.#state, state);
    put('localStorage', this.#state, state);
  }

  /** One key per message, so that tabs can't overwrite each other's. If two send the same one, its id makes it one. */
  unsent() {
    const found = [];
    try {
      for (const key of Object.keys(localStorage)) {
        if (key.startsWith(this.#unsent)) found.push(get('localStorage', key));
      }
    } catch {
      // As above.
    }
    return found.filter((item) => item?.id && item.key).sort((a, b) => a.at - b.at);
  }

  keep(item) {
    put('localStorage', this.#unsent + item.id, item);
  }

  drop(id) {
    put('localStorage', this.#unsent + id, null);
  }

  /** On signing out: nothing of this user stays behind. */
  clear() {
    for (const { id } of this.unsent()) this.drop(id);
    put('sessionStorage', this.#state, null);
    put('localStorage', this.#state, null);
  }
}
