// @ts-check
// Applies the colours that the user chose before the page is drawn for the first time, so that it does not flash. A module
// would run too late.
{
	try {
		const { theme } = JSON.parse(localStorage.getItem('chat:choices') ?? '{}');
		if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
	} catch {
		// Without storage, the page has the colours of the system.
	}
}
