// Owns how elements are built: what people wrote becomes text nodes only.

const ICONS = {
	back: 'M15 5l-7 7 7 7',
	close: 'M6 6l12 12M18 6L6 18',
	failed: 'M12 3a9 9 0 1 0 .1 0M12 7v6M12 16.5v.1',
	link: 'M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1',
	out: 'M10 4H5v16h5M15 8l4 4-4 4M19 12H9',
	people: 'M9 4.5a3.5 3.5 0 1 0 .1 0M2.5 20c.5-4 3-6 6.5-6s6 2 6.5 6M16 5a3 3 0 0 1 0 6M18 14.5c2 .8 3 2.5 3.5 5.5',
	plus: 'M12 5v14M5 12h14',
	read: 'M2 12.5l5 5L16 7M12 17l.5.5L22 7',
	send: 'M12 19V5M6 11l6-6 6 6',
	stored: 'M5 12.5l5 5L19.5 7',
	waiting: 'M12 4a8 8 0 1 0 .1 0M12 7.5V12l3 2',
};

export const $ = (id) => document.getElementById(id);

/** `on…` are listeners. */
export function el(tag, props = {}, ...children) {
	const node = document.createElement(tag);
	for (const [key, value] of Object.entries(props)) {
		if (key.startsWith('on')) node[key] = value;
		else if (value) node.setAttribute(key, value);
	}
	node.append(...children.filter(Boolean));
	return node;
}

export function icon(name) {
	const [svg, path] = ['svg', 'path'].map((tag) => document.createElementNS('http://www.w3.org/2000/svg', tag));
	svg.setAttribute('viewBox', '0 0 24 24');
	svg.ariaHidden = true;
	path.setAttribute('d', ICONS[name] ?? ICONS.waiting);
	svg.append(path);
	return svg;
}

export const spoken = (text) => el('span', { class: 'sr' }, text);

/** What comes into the page together with its region is often not spoken. */
export const announce = (text) => ($('live').textContent = text);

/** An alert is not repeated. */
export function say(node, text) {
	if (node.textContent !== text) node.textContent = text;
}

export function tint(node, name) {
	let hash = 7;
	for (const char of name) hash = Math.imul(hash ^ char.codePointAt(0), 16777619);
	node.style.setProperty('--hue', hash % 360);
	return node;
}

export function face(name, here) {
	const [letter] = /[\p{L}\p{N}\p{Extended_Pictographic}]/u.exec(name) ?? '?';
	const dot = here !== undefined && el('span', { class: here ? 'dot here' : 'dot' });
	return tint(el('span', { class: 'avatar', 'aria-hidden': true }, letter.toUpperCase(), dot), name);
}

/** Without https, crypto.randomUUID is missing. */
export function uuid() {
	const random = crypto.getRandomValues(new Uint8Array(36));
	return 'xxxxxxxx-xxxx-4xxx-8xxx-xxxxxxxxxxxx'.replace(/x/g, (_, at) => (random[at] & 15).toString(16));
}

/** As the server reads a name. */
export const tidy = (name) => name.trim().normalize('NFC');
