// Searches, recommends, and reports a click: what a shop's back end does for one page.
//
//   node shop.js "hiking backpack"
//
// KAIROS_TARGET (127.0.0.1:50050) is the gateway. KAIROS_API_KEY is the key, KAIROS_TLS=1 turns TLS on.
import { randomUUID } from 'node:crypto';

import { Kairos } from './kairos.js';

const kairos = new Kairos(process.env.KAIROS_TARGET ?? '127.0.0.1:50050', {
  apiKey: process.env.KAIROS_API_KEY,
  tls: process.env.KAIROS_TLS === '1',
});
const query = process.argv[2] ?? 'hiking backpack';
const shopper = { userId: 'ana', sessionId: randomUUID() };

function print(title, answer) {
  console.log(title);
  for (const { position, product, price } of answer.results) {
    console.log(`  ${position}. ${product.title} (${product.id}) ${price ? money(price.offer) : 'no price'}`);
  }
  // A degraded answer is a whole answer: show it, and count what was given up.
  for (const { stage, reason, fallback } of answer.degradations) {
    console.log(`  degraded: ${stage} ${reason}, the answer holds: ${fallback}`);
  }
}

function money({ currencyCode, units, nanos }) {
  return `${currencyCode} ${(Number(units) + nanos / 1e9).toFixed(2)}`;
}

// The deadline is the latency budget: the answer comes within it.
const found = await kairos.call('Search', { ...shopper, query, pageSize: 5, filter: { inStockOnly: true } }, { deadlineMs: 500 });
print(`Search for ${query}: ${found.totalSize} products`, found);

const recommended = await kairos.call('Recommend', { ...shopper, pageSize: 5 }, { deadlineMs: 500 });
print('Recommended', recommended);

if (found.results.length > 0) {
  const click = {
    // Your own id: an event that is sent again counts once, so that a write may be tried again.
    eventId: randomUUID(),
    ...shopper,
    itemId: found.results[0].product.id,
    type: 'EVENT_TYPE_CLICK',
    attributionToken: found.attributionToken,
  };
  const recorded = await kairos.call('RecordEvents', { events: [click] }, { deadlineMs: 10_000, retry: true });
  console.log(`Recorded ${recorded.recordedCount} event, ${recorded.duplicateCount} known before`);
}
kairos.close();
