"""What Redis runs as one step: whole or not at all. KEYS[1] is a tenant's prefix, ARGV[1] a JSON document.

cjson reads [] as an object, which ipairs walks all the same. Numbers that must stay exact come as strings. A person
who was deleted is remembered by the SHA-1 of the key.
"""

from __future__ import annotations

from services.ranker.adapters.redis_totals import TOTALS

_SHARED = """
local prefix = KEYS[1]
local function rank(set, score, member, limit)
  redis.call('ZADD', set, score, member)
  redis.call('ZREMRANGEBYRANK', set, 0, -1 - limit)
end
local function owner(person)
  return redis.call('GET', prefix .. 'merged:' .. person) or person
end
local function is_forgotten(person, time)
  local gone = redis.call('GET', prefix .. 'forgotten:' .. redis.sha1hex(person))
  return gone and tonumber(time) <= tonumber(gone)
end
-- The key of an item's popularity: that of its group, or its own.
local function key_of(item)
  return redis.call('HGET', prefix .. 'groups', item) or item
end
-- At every change of what histories are made of but new entries of the logs.
local function raise_revision() redis.call('INCR', prefix .. 'revision') end
local function store_items(items, now_s)
  for _, item in ipairs(items) do
    local key = prefix .. 'item:' .. item.id
    local changed = redis.call('GET', key) ~= item.data
    if changed then redis.call('SET', key, item.data) end
    local group = redis.call('HGET', prefix .. 'groups', item.id)
    if item.group == item.id then
      changed = redis.call('HDEL', prefix .. 'groups', item.id) > 0 or changed
    elseif item.group ~= '' and item.group ~= group then
      redis.call('HSET', prefix .. 'groups', item.id, item.group)
      changed = true
    end
    if changed then raise_revision() end
    local known = redis.call('ZSCORE', prefix .. 'items', item.id)
    if not known or known + 86400 < now_s then redis.call('ZADD', prefix .. 'items', now_s, item.id) end
  end
end
"""

# Of a person's history the revision of the tenant, the state of the person's logs, and its sets if the two are not
# ARGV[2] and ARGV[3]; all of one moment. Not MULTI, in which a full Redis refuses reads too. ARGV[1] is the person's
# key; from ARGV[4] on, pairs of a set and the last rank to read.
HISTORY = (
    _SHARED
    + """
local person = owner(ARGV[1])
local own = prefix .. 'person:' .. person .. ':'
local parts = {person}
for _, log in ipairs({'events', 'impressions'}) do
  parts[#parts + 1] = redis.call('ZCARD', own .. log)
  parts[#parts + 1] = redis.call('ZREVRANGE', own .. log, 0, 0)[1] or ''
end
local answer = {redis.call('GET', prefix .. 'revision') or '', table.concat(parts, '\\0')}
if answer[1] == ARGV[2] and answer[2] == ARGV[3] then return answer end
for at = 4, #ARGV, 2 do
  answer[#answer + 1] = redis.call('ZREVRANGE', own .. ARGV[at], 0, ARGV[at + 1], 'WITHSCORES')
end
return answer
"""
)

RECORD = (
    _SHARED
    + TOTALS
    + """
-- Popularity that was kept by item before the item's group was known becomes the group's.
local function join_groups(items)
  for _, item in ipairs(items) do
    local mass = item.group ~= '' and item.group ~= item.id and score(prefix .. 'popularity', item.id)
    if mass then
      redis.call('ZREM', prefix .. 'popularity', item.id)
      move(item.group, item.id, nil, mass)
    end
  end
end
local answer = {}
local until_s = tonumber(redis.call('HGET', prefix .. 'trimmed', 'until') or '-inf')
for place, batch in ipairs(cjson.decode(ARGV[1])) do
  store_items(batch.items, batch.now_s)
  join_groups(batch.items)
  local new = {}
  for _, event in ipairs(batch.events) do
    if tonumber(event.time) > until_s and not is_forgotten(event.person, event.time)
        and redis.call('SET', prefix .. 'event:' .. event.id, '1', 'NX') then
      new[#new + 1] = event.id
      local person = prefix .. 'person:' .. owner(event.person) .. ':'
      local undone = event.is_trade and undone_of(person) or {}
      local position = redis.call('INCR', prefix .. 'events:last')
      -- A day of purchases needs the position of its first one.
      if event.kind == 'purchase' then redis.call('SET', prefix .. 'event:' .. event.id, position) end
      redis.call('XADD', prefix .. 'events', position .. '-0', 'mark', event.id, 'event', event.data)
      redis.call('ZADD', person .. 'events', position, position)
      redis.call('ZADD', prefix .. 'times', event.time, string.format('%012d', position))
      for _, set in ipairs(event.sets) do rank(person .. set.name, set.score, set.member, set.limit) end
      if event.is_trade then undone = settle(person, undone, event.id) end
      local entry = {item = event.item, occurred_s = tonumber(event.time)}
      if event.kind ~= 'purchase' then
        count_popularity(person, event.kind, entry.item, entry.occurred_s)
      else
        if not undone[event.id] then count_purchase(person, entry, position, event.category) end
      end
    end
  end
  answer[place] = new
end
return answer
"""
)

# ARGV[2] and following are the rankings as bytes, in the order of the document.
RECORD_IMPRESSIONS = (
    _SHARED
    + """
local new = 0
local document = cjson.decode(ARGV[1])
store_items(document.items, document.now_s)
local function append(log, entry, ranking, ...)
  if is_forgotten(entry.person, entry.time)
      or not redis.call('SET', prefix .. entry.mark, '1', 'NX') then return nil end
  local position = redis.call('INCR', prefix .. log .. ':last')
  redis.call('XADD', prefix .. log, position .. '-0', 'mark', entry.mark, 'ranking', ranking, ...)
  if entry.person == '' then return '' end
  local person = prefix .. 'person:' .. owner(entry.person) .. ':'
  redis.call('ZADD', person .. log, position, position)
  return person
end
for place, page in ipairs(document.impressions) do
  local person = append('impressions', page, ARGV[1 + place], 'positions', page.positions, 'shown_s', page.shown_s)
  if person then new = new + 1 end
  if person and person ~= '' then
    for _, member in ipairs(page.shown) do redis.call('ZADD', person .. 'shown', page.shown_s, member) end
    redis.call('ZREMRANGEBYRANK', person .. 'shown', 0, -1 - page.limit)
  end
end
for place, entry in ipairs(document.whole) do
  append('whole_rankings', entry, ARGV[1 + #document.impressions + place])
end
return new
"""
)

_ATTRIBUTES = """
local function drop_attribute(person, name)
  redis.call('HDEL', prefix .. 'person:' .. person .. ':attributes', name)
  redis.call('ZREM', prefix .. 'attributes', name .. '\\0' .. person)
  redis.call('ZREM', prefix .. 'attributes:expiry', name .. '\\0' .. person)
end
-- Of a person's attributes only the newest `most`.
local function keep_newest_attributes(person, most)
  local names = redis.call('HKEYS', prefix .. 'person:' .. person .. ':attributes')
  if #names <= most then return end
  local places = {}
  for _, name in ipairs(names) do
    places[#places + 1] = {tonumber(redis.call('ZSCORE', prefix .. 'attributes', name .. '\\0' .. person)), name}
  end
  table.sort(places, function(a, b) return a[1] > b[1] end)
  for at = most + 1, #places do drop_attribute(person, places[at][2]) end
end
"""

# The document names the person, the attributes to store, the names to remove, and the most that a person has.
SET_ATTRIBUTES = (
    _SHARED
    + _ATTRIBUTES
    + """
local document = cjson.decode(ARGV[1])
local person = owner(document.person)
local own = prefix .. 'person:' .. person .. ':attributes'
for _, name in ipairs(document.removed) do drop_attribute(person, name) end
for _, each in ipairs(document.declared) do
  local member = each.name .. '\\0' .. person
  redis.call('HSET', own, each.name, each.data)
  redis.call('ZADD', prefix .. 'attributes', redis.call('INCR', prefix .. 'attributes:last'), member)
  redis.call('ZADD', prefix .. 'attributes:expiry', each.expires_s, member)
end
keep_newest_attributes(person, document.most)
return redis.call('HGETALL', own)
"""
)

# Removes attributes that have ended, else the oldest ones beyond the bound, and answers their number. The document has
# the time, the bound, and the most of one step.
TRIM_ATTRIBUTES = (
    _SHARED
    + _ATTRIBUTES
    + """
local document = cjson.decode(ARGV[1])
local gone = redis.call('ZRANGEBYSCORE', prefix .. 'attributes:expiry', '-inf', document.now_s, 'LIMIT', 0,
  document.step)
local over = redis.call('ZCARD', prefix .. 'attributes') - document.count
if #gone == 0 and over > 0 then
  gone = redis.call('ZRANGE', prefix .. 'attributes', 0, math.min(over, document.step) - 1)
end
for _, member in ipairs(gone) do
  local at = string.find(member, '\\0', 1, true)
  drop_attribute(string.sub(member, at + 1), string.sub(member, 1, at - 1))
end
return #gone
"""
)

# The document names visitor and user, and the limits of the bounded sets. Answers {-1} if the visitor is another's.
MERGE = (
    _SHARED
    + TOTALS
    + _ATTRIBUTES
    + """
local document = cjson.decode(ARGV[1])
local known = redis.call('GET', prefix .. 'merged:' .. document.visitor)
if known == document.user then return {0, 0} end
if known then return {-1, -1} end
redis.call('SET', prefix .. 'merged:' .. document.visitor, document.user, 'EX', document.merged_s)
redis.call('SADD', prefix .. 'visitors:' .. document.user, document.visitor)
redis.call('EXPIRE', prefix .. 'visitors:' .. document.user, document.merged_s)
local from = prefix .. 'person:' .. document.visitor .. ':'
local to = prefix .. 'person:' .. document.user .. ':'
local undone = undone_of(from)
for id in pairs((undone_of(to))) do undone[id] = true end
local sizes = {redis.call('ZCARD', from .. 'events'), redis.call('ZCARD', from .. 'impressions')}
local function unite(set)
  redis.call('ZUNIONSTORE', to .. set, 2, to .. set, from .. set, 'AGGREGATE', 'MAX')
  redis.call('DEL', from .. set)
end
for _, log in ipairs({'events', 'impressions', 'whole_rankings'}) do unite(log) end
for set, limit in pairs(document.limits) do
  unite(set)
  redis.call('ZREMRANGEBYRANK', to .. set, 0, -1 - limit)
end

count(days_of(from, {}), -1)
count(days_of(to, {}), -1)
local together = days_of(to, days_of(from, {}))
count(together, 1)
redis.call('DEL', from .. 'bought', from .. 'days', to .. 'bought', to .. 'days')
for field, day in pairs(together) do
  redis.call('HSET', to .. 'bought', field, day.position .. ':' .. day.category)
  redis.call('HINCRBY', to .. 'days', day.item, 1)
end
-- What the user has declared too is dropped, unless the user's value has ended.
for _, name in ipairs(redis.call('HKEYS', to .. 'attributes')) do
  local ends = redis.call('ZSCORE', prefix .. 'attributes:expiry', name .. '\\0' .. document.user)
  if ends and tonumber(ends) <= document.now_s then drop_attribute(document.user, name) end
end
local declared = redis.call('HGETALL', from .. 'attributes')
for at = 1, #declared, 2 do
  local name, old = declared[at], declared[at] .. '\\0' .. document.visitor
  local place = redis.call('ZSCORE', prefix .. 'attributes', old)
  local ends = redis.call('ZSCORE', prefix .. 'attributes:expiry', old)
  drop_attribute(document.visitor, name)
  if redis.call('HSETNX', to .. 'attributes', name, declared[at + 1]) == 1 then
    redis.call('ZADD', prefix .. 'attributes', place, name .. '\\0' .. document.user)
    redis.call('ZADD', prefix .. 'attributes:expiry', ends, name .. '\\0' .. document.user)
  end
end
keep_newest_attributes(document.user, document.most_attributes)
-- The user may have given back what the visitor had bought.
settle(to, undone, '')
return sizes
"""
)

# The document names the person, the time, and the seconds that the deletion is remembered.
DELETE_PERSON = (
    _SHARED
    + _ATTRIBUTES
    + """
local document = cjson.decode(ARGV[1])
local person = owner(document.person)
local own = prefix .. 'person:' .. person .. ':'
local function clear(log, marks)
  local positions = redis.call('ZRANGE', own .. log, 0, -1)
  for _, position in ipairs(positions) do
    local id = position .. '-0'
    for _, entry in ipairs(redis.call('XRANGE', prefix .. log, id, id)) do
      redis.call('DEL', prefix .. marks .. entry[2][2])
    end
    redis.call('XDEL', prefix .. log, id)
    if log == 'events' then redis.call('ZREM', prefix .. 'times', string.format('%012d', position)) end
  end
  return #positions
end
local events = clear('events', 'event:')
local impressions = clear('impressions', '')
clear('whole_rankings', '')
for _, name in ipairs({'events', 'impressions', 'whole_rankings', 'recent', 'lasting', 'purchases', 'refunds', 'shown',
    'shares', 'bought', 'days'}) do
  redis.call('DEL', own .. name)
end
for _, name in ipairs(redis.call('HKEYS', own .. 'attributes')) do drop_attribute(person, name) end
local visitors = redis.call('SMEMBERS', prefix .. 'visitors:' .. person)
visitors[#visitors + 1] = person
for _, each in ipairs(visitors) do
  redis.call('DEL', prefix .. 'merged:' .. each)
  redis.call('SET', prefix .. 'forgotten:' .. redis.sha1hex(each), document.time, 'EX', document.remembered_s)
end
redis.call('DEL', prefix .. 'visitors:' .. person)
raise_revision()
return {events, impressions}
"""
)

# Removes entries of one log. The document names the log, the time until which events are gone, and of each entry the
# position, the mark, the person and the members of the person's sets. Begins with a removal: a full Redis allows it.
TRIM = (
    _SHARED
    + """
local document = cjson.decode(ARGV[1])
local log, last = document.log, 0
for _, entry in ipairs(document.entries) do
  redis.call('XDEL', prefix .. log, entry.position .. '-0')
  redis.call('DEL', prefix .. entry.mark)
  if log == 'events' then redis.call('ZREM', prefix .. 'times', string.format('%012d', entry.position)) end
  last = math.max(last, entry.position)
  if entry.person ~= '' then
    local own = prefix .. 'person:' .. owner(entry.person) .. ':'
    redis.call('ZREM', own .. log, entry.position)
    for _, set in ipairs(entry.sets) do
      -- Of a member that also has what the stream does not have, the beginning is known.
      for _, member in ipairs(redis.call('ZRANGEBYSCORE', own .. set.name, set.score, set.score)) do
        if string.sub(member, 1, #set.start) == set.start then redis.call('ZREM', own .. set.name, member) end
      end
    end
    if entry.mass then
      local key = key_of(entry.item)
      local share = tonumber(redis.call('ZSCORE', own .. 'shares', key) or nil)
      if share and share <= tonumber(entry.mass) then redis.call('ZREM', own .. 'shares', key) end
    end
    if entry.day then
      local bought = redis.call('HGET', own .. 'bought', entry.day .. ':' .. entry.item)
      if bought and bought:match('^%d+') == tostring(entry.position) then
        redis.call('HDEL', own .. 'bought', entry.day .. ':' .. entry.item)
        if redis.call('HINCRBY', own .. 'days', entry.item, -1) <= 0 then
          redis.call('HDEL', own .. 'days', entry.item)
        end
      end
    end
  end
end
local function raise(field, value)
  local known = redis.call('HGET', prefix .. 'trimmed', field)
  if not known or tonumber(known) < tonumber(value) then redis.call('HSET', prefix .. 'trimmed', field, value) end
end
if last > 0 then raise(log, last) end
if log == 'events' then raise('until', document.until_s) end
if #document.entries > 0 then raise_revision() end
"""
)
