"""Lua for the totals over all persons, as sqlite_totals.py keeps them: popularity, buyers, and what refunds take back.

`person` is the prefix of a person's keys. It needs `prefix`, `rank` and `key_of` of redis_scripts.py.
"""

from __future__ import annotations

import math

from services.ranker.domain.popularity import HALF_LIFE_S, SHARES, WEIGHTS

_WEIGHTS = ", ".join(f"{kind.value} = {math.log2(weight)!r}" for kind, weight in WEIGHTS.items())

TOTALS = (
    f"""
local weights, half_life_s, most_shares = {{{_WEIGHTS}}}, {HALF_LIFE_S!r}, {SHARES}
"""
    + """
local function score(set, member)
  return tonumber(redis.call('ZSCORE', set, member) or nil)
end
local function put(set, member, value)
  if value then redis.call('ZADD', set, string.format('%.17g', value), member)
  else redis.call('ZREM', set, member) end
end

-- As domain/popularity.py.
local function mass_of(kind, item, occurred_s)
  return item ~= '' and weights[kind] and weights[kind] + occurred_s / half_life_s
end
local function moved(total, share, new)
  if not total and not new then return nil end
  local most = math.max(total or -math.huge, new or -math.huge)
  local function scaled(log) return log and 2 ^ (log - most) or 0 end
  local left = math.max(scaled(total) - scaled(share), 0) + scaled(new)
  return left > 1e-9 and most + math.log(left) / math.log(2) or nil
end
local function move(key, item, share, new)
  put(prefix .. 'popularity', key, moved(score(prefix .. 'popularity', key), share, new))
  local variants = prefix .. 'variants:' .. key
  if key ~= item or redis.call('EXISTS', variants) == 1 then
    put(variants, item, moved(score(variants, item), share, new))
  end
end
local function count_popularity(person, kind, item, occurred_s)
  local mass, key = mass_of(kind, item, occurred_s), key_of(item)
  local share = score(person .. 'shares', key)
  if not mass or (share and share >= mass) then return end
  rank(person .. 'shares', string.format('%.17g', mass), key, most_shares)
  move(key, item, share, mass)
end

-- As domain/repurchase.py: the first recorded day of an item counts a buyer, the second one a buyer who bought again.
local function days_of(person, into, item)
  local fields = redis.call('HGETALL', person .. 'bought')
  for at = 1, #fields, 2 do
    local position, category = fields[at + 1]:match('^(%d+):(.*)$')
    local known, own = into[fields[at]], fields[at]:match('^%-?%d+:(.*)$')
    if (not item or item == own) and (not known or tonumber(position) < known.position) then
      into[fields[at]] = {position = tonumber(position), category = category, item = own}
    end
  end
  return into
end
local function count(days, sign)
  local items = {}
  for _, day in pairs(days) do
    items[day.item] = items[day.item] or {}
    table.insert(items[day.item], day)
  end
  for item, bought in pairs(items) do
    table.sort(bought, function(a, b) return a.position < b.position end)
    for time, name in ipairs({'buyers', 'again'}) do
      local day = bought[time]
      if day then
        local keys = {'item:' .. item}
        if day.category ~= '' then keys[2] = 'category:' .. day.category end
        for _, key in ipairs(keys) do
          if redis.call('HINCRBY', prefix .. name, key, sign) == 0 then redis.call('HDEL', prefix .. name, key) end
        end
      end
    end
  end
end
local function day_of(entry)
  return string.format('%d', math.floor(entry.occurred_s / 86400))
end
local function count_purchase(person, purchase, position, category)
  count_popularity(person, 'purchase', purchase.item, purchase.occurred_s)
  local field = day_of(purchase) .. ':' .. purchase.item
  if redis.call('HEXISTS', person .. 'bought', field) == 1 then return end
  count(days_of(person, {}, purchase.item), -1)
  redis.call('HSET', person .. 'bought', field, position .. ':' .. category)
  redis.call('HINCRBY', person .. 'days', purchase.item, 1)
  count(days_of(person, {}, purchase.item), 1)
end

-- The members of a person's set, latest first. Those of an earlier Kairos end with the price.
local function entries(set)
  local found = {}
  for _, member in ipairs(redis.call('ZREVRANGE', set, 0, -1)) do
    local id, data = member:match('^(%Z*)%z(.*)$')
    local kept = cjson.decode(data)
    found[#found + 1] = {
      id = id, item = kept[1], kind = kept[3], occurred_s = kept[4], order = kept[8] or '',
      quantity = kept[9] or 1, category = kept[10] or ''
    }
  end
  return found
end
-- As services/common/refunds.py: a set of the ids of the purchases that are undone; and all purchases, if there are
-- refunds.
local function undone_of(person)
  local gone, purchases, refunds = {}, {}, entries(person .. 'refunds')
  if #refunds == 0 then return gone, purchases end
  purchases = entries(person .. 'purchases')
  for _, purchase in ipairs(purchases) do purchase.left = purchase.quantity end
  for _, has_order in ipairs({true, false}) do
    for at = #refunds, 1, -1 do
      local refund = refunds[at]
      local pieces = refund.quantity > 0 and refund.quantity or math.huge
      for _, purchase in ipairs((refund.order ~= '') == has_order and purchases or {}) do
        local is_of = purchase.order == refund.order
        if not has_order then is_of = purchase.occurred_s <= refund.occurred_s end
        if is_of and purchase.item == refund.item and purchase.left > 0 then
          local given_back = math.min(pieces, purchase.left)
          purchase.left, pieces = purchase.left - given_back, pieces - given_back
          if pieces <= 0 or not has_order then break end
        end
      end
    end
  end
  for _, purchase in ipairs(purchases) do
    if purchase.left <= 0 then gone[purchase.id] = true end
  end
  return gone, purchases
end

local function lower_popularity(person, purchase, purchases, gone)
  local key = key_of(purchase.item)
  local share, rest = score(person .. 'shares', key), nil
  if not share or share > mass_of('purchase', purchase.item, purchase.occurred_s) then return end
  for _, set in ipairs({entries(person .. 'recent'), purchases}) do
    for _, other in ipairs(set) do
      local mass = not gone[other.id] and key_of(other.item) == key
        and mass_of(other.kind, other.item, other.occurred_s)
      if mass and (not rest or mass > rest) then rest = mass end
    end
  end
  if rest and rest >= share then return end
  put(person .. 'shares', key, rest)
  move(key, purchase.item, share, rest)
end
-- The day is one of the first recorded of the purchases on it that are left; without any it is no day of a purchase.
local function set_day(person, item, day, purchases, gone)
  local field, first = day .. ':' .. item, nil
  for _, purchase in ipairs(purchases) do
    if not gone[purchase.id] and purchase.item == item and day_of(purchase) == day then
      purchase.position = tonumber(redis.call('GET', prefix .. 'event:' .. purchase.id) or '1')
      if not first or purchase.position < first.position then first = purchase end
    end
  end
  count(days_of(person, {}, item), -1)
  if redis.call('HDEL', person .. 'bought', field) == 1
      and redis.call('HINCRBY', person .. 'days', item, -1) <= 0 then
    redis.call('HDEL', person .. 'days', item)
  end
  if first then
    redis.call('HSET', person .. 'bought', field, string.format('%d', first.position) .. ':' .. first.category)
    redis.call('HINCRBY', person .. 'days', item, 1)
  end
  count(days_of(person, {}, item), 1)
end
-- Counts purchases that are no longer undone, and takes back those that are undone now; `before` are those that were,
-- `new` is the id of an event that is not counted yet. Returns the set of those that are undone now.
local function settle(person, before, new)
  local gone, purchases = undone_of(person)
  local changed = {}
  for _, purchase in ipairs(purchases) do
    if purchase.id ~= new and gone[purchase.id] ~= before[purchase.id] then
      changed[#changed + 1] = purchase
      if gone[purchase.id] then lower_popularity(person, purchase, purchases, gone)
      else count_popularity(person, 'purchase', purchase.item, purchase.occurred_s) end
    end
  end
  for _, purchase in ipairs(changed) do set_day(person, purchase.item, day_of(purchase), purchases, gone) end
  return gone
end
"""
)
