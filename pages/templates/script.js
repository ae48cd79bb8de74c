(() => {
'use strict';
// Comfort alone: every page works without this. Its settings are in data
// attributes, since the policy admits these very bytes and nothing else.
const all = selector => document.querySelectorAll(selector);
const poll = document.querySelector('[data-poll]');
let leaving = false;

// The page may be the answer to a form: asking for its address anew, instead
// of reloading, never sends that form twice.
const refresh = () => {
	if (poll && !leaving) location.replace(poll.dataset.poll);
};

// A form is sent once. Its buttons come back when the page does, out of the
// browser's memory, and after a while, should the sending have been stopped.
const release = () => {
	leaving = false;
	for (const form of document.forms) {
		delete form.dataset.sent;
		for (const button of form.querySelectorAll('button')) button.disabled = Boolean(form.closest('[data-waiting]'));
	}
};
for (const form of document.forms) {
	form.addEventListener('submit', event => {
		if (leaving) return event.preventDefault();
		leaving = true;
		for (const button of form.querySelectorAll('button')) button.disabled = true;
		setTimeout(release, 15000);
	});
}
addEventListener('pageshow', event => { if (event.persisted) release(); });

// Countdowns.
const plural = (n, noun) => n + ' ' + noun + (n === 1 ? '' : 's');
const span = s => s <= 90 ? plural(s, 'second') : s <= 5400 ? plural(Math.ceil(s / 60), 'minute') : plural(Math.ceil(s / 3600), 'hour');
const count = element => {
	const end = Date.now() + element.dataset.wait * 1000;
	const find = name => element.querySelector('[data-' + name + ']');
	element.dataset.waiting = '';
	for (const button of element.querySelectorAll('button')) button.disabled = true;
	const tick = () => {
		const left = Math.ceil((end - Date.now()) / 1000);
		if (left > 0) {
			find('left').textContent = span(left);
			return;
		}
		clearInterval(timer);
		delete element.dataset.waiting;
		if (!leaving) for (const button of element.querySelectorAll('button')) button.disabled = false;
		if (find('during')) find('during').hidden = true;
		if (find('after')) find('after').hidden = false;
		if ('refresh' in element.dataset) refresh();
	};
	const timer = setInterval(tick, 1000);
};
all('[data-wait]').forEach(count);

for (const element of all('[data-js]')) element.hidden = false;

// Times, in the visitor's zone.
const language = navigator.language.startsWith('en') ? navigator.language : 'en-GB';
for (const element of all('time')) {
	element.textContent = new Date(element.dateTime).toLocaleString(language, {dateStyle: 'long', timeStyle: 'short'});
}

// Waiting for the link to be opened in another tab. It asks only while somebody
// looks, and not while a form is on its way: going on then could cut off the
// answer that brings the session.
if (poll) {
	const loaded = Date.now();
	const end = loaded + Math.max(poll.dataset.expires, 10) * 1000;
	let timer, asking = false, known = false, delay = 2000;
	const ask = async () => {
		clearTimeout(timer);
		if (document.hidden || asking) return;
		if (Date.now() > end) return refresh();
		asking = true;
		if (!leaving) await look().catch(() => { delay = Math.min(delay * 2, 30000); });
		asking = false;
		if (timer !== null) timer = setTimeout(ask, delay);
	};
	const look = async () => {
		const response = await fetch(poll.dataset.poll, {headers: {Accept: 'application/json'}, cache: 'no-store'});
		if (response.status === 429 || response.status >= 500) throw response.status;
		const answer = response.ok ? await response.json() : {state: 'expired'};
		if (leaving) return;
		if (answer.state === 'pending') {
			known = true;
			delay = 2000;
		} else if (answer.state === 'done') {
			const to = new URL(answer.location, location.href);
			if (to.origin !== location.origin) throw to;
			timer = null;
			location.replace(to);
		} else if (known || Date.now() > loaded + 10000) {
			timer = null;
			refresh();
		} else {
			// The page is as new as this answer and says otherwise: no quick circle.
			throw answer;
		}
	};
	document.addEventListener('visibilitychange', ask);
	timer = setTimeout(ask, delay);
}
})();
