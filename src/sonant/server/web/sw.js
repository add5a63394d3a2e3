// Keeps the page itself for when the server is away; never what was said.
const CACHE = "sonant-page";
const PAGE = ["/", "/overlay", "/docs", "/manifest.webmanifest"];

const ours = (url) => url.origin === location.origin && (PAGE.includes(url.pathname) || url.pathname.startsWith("/web/"));

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(PAGE)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || !ours(url)) return;
  event.respondWith(
    fetch(event.request)
      .then(async (response) => {
        if (response.ok) await (await caches.open(CACHE)).put(url.pathname, response.clone());
        return response;
      })
      .catch(async () => (await caches.match(url.pathname)) ?? Response.error()),
  );
});
