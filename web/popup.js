// @ts-check
// Owns what is open above the page at a button, such as a menu: its place, and how it closes. Knows nothing of its content.

/** In px: the distance from the edges of the window. */
const MARGIN = 8;

/** @type {((returns?: boolean) => void) | null} */
let closeOpen = null;

/**
 * Opens an element at a button. If it is open there, it is closed instead, and null is returned; otherwise a function that
 * closes it.
 * @param {HTMLElement} button
 * @param {HTMLElement} node
 * @param {HTMLElement} first Gets the focus.
 * @param {() => HTMLElement | null} opener Where the focus returns to: the button may be built anew meanwhile.
 */
export function openPopup(button, node, first, opener) {
	const wasOpen = button.ariaExpanded === 'true';
	closeOpen?.(false);
	if (wasOpen) return null;
	const ends = new AbortController();

	/** @param {boolean} [returns] Whether the focus returns. */
	function close(returns = true) {
		if (closeOpen !== close) return;
		closeOpen = null;
		ends.abort();
		const hadFocus = node.contains(document.activeElement);
		node.remove();
		button.ariaExpanded = 'false';
		const back = opener();
		if (back) back.ariaExpanded = 'false';
		if (returns && hadFocus) back?.focus({ preventScroll: true });
	}

	addEventListener(
		'pointerdown',
		(event) => {
			const target = /** @type {Node} */ (event.target);
			// The button closes it by itself.
			if (!node.contains(target) && !button.contains(target)) close(false);
		},
		{ capture: true, signal: ends.signal },
	);
	// The keyboard of a phone goes when a menu takes the focus.
	const placeAgain = () => requestAnimationFrame(() => place(node, (opener() ?? button).getBoundingClientRect()));
	addEventListener('resize', placeAgain, { signal: ends.signal });
	for (const event of ['hashchange', 'blur'])
		addEventListener(event, ({ target }) => target === window && close(false), { signal: ends.signal });

	closeOpen = close;
	button.ariaExpanded = 'true';
	document.body.append(node);
	place(node, button.getBoundingClientRect());
	first.focus({ preventScroll: true });
	return close;
}

/**
 * Below the button or above it, where there is room.
 * @param {HTMLElement} node
 * @param {DOMRect} at
 */
function place(node, at) {
	const { width, height } = node.getBoundingClientRect();
	const isRight = at.left + at.right > innerWidth;
	const left = Math.min(isRight ? at.right - width : at.left, innerWidth - width - MARGIN);
	const below = at.bottom + height + MARGIN <= innerHeight;
	const top = below ? at.bottom : Math.min(at.top, innerHeight - MARGIN) - height;
	node.style.left = `${Math.max(MARGIN, left)}px`;
	node.style.top = `${Math.max(MARGIN, top)}px`;
}
