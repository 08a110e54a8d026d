"""What Redis runs as one step: whole or not at all. KEYS[1] is a tenant's prefix, ARGV[1] a JSON document.

cjson reads [] as an object, which ipairs walks all the same. Numbers that must stay exact come as strings. A person
who was deleted is remembered by the SHA-1 of the key.
"""

from __future__ import annotations

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
local function store_items(items, now_s)
  for _, item in ipairs(items) do
    local key = prefix .. 'item:' .. item.id
    if redis.call('GET', key) ~= item.data then redis.call('SET', key, item.data) end
    local known = redis.call('ZSCORE', prefix .. 'items', item.id)
    if not known or known + 86400 < now_s then redis.call('ZADD', prefix .. 'items', now_s, item.id) end
  end
end
"""

# The sets of one person, all of one moment. Not MULTI, in which a full Redis refuses reads too. KEYS[1] is the person's
# prefix; ARGV are pairs of a set and the last rank to read.
HISTORY = """
local answer = {}
for at = 1, #ARGV, 2 do
  answer[#answer + 1] = redis.call('ZREVRANGE', KEYS[1] .. ARGV[at], 0, ARGV[at + 1], 'WITHSCORES')
end
return answer
"""

RECORD = (
    _SHARED
    + """
-- As domain/popularity.py: a person counts once for an item, with the event that weighs most.
local function count_popularity(event, shares)
  local mass, share = tonumber(event.mass), tonumber(redis.call('ZSCORE', shares, event.item) or nil)
  if share and share >= mass then return end
  rank(shares, event.mass, event.item, event.shares)
  local total = tonumber(redis.call('ZSCORE', prefix .. 'popularity', event.item) or nil)
  if total then
    local most = math.max(total, mass)
    local others = 2 ^ (total - most) - (share and 2 ^ (share - most) or 0)
    total = most + math.log(math.max(others, 0) + 2 ^ (mass - most)) / math.log(2)
  end
  redis.call('ZADD', prefix .. 'popularity', string.format('%.17g', total or mass), event.item)
end
local answer = {}
local until_s = tonumber(redis.call('HGET', prefix .. 'trimmed', 'until') or '-inf')
for place, batch in ipairs(cjson.decode(ARGV[1])) do
  store_items(batch.items, batch.now_s)
  local new = {}
  for _, event in ipairs(batch.events) do
    if tonumber(event.time) > until_s and not is_forgotten(event.person, event.time)
        and redis.call('SET', prefix .. 'event:' .. event.id, '1', 'NX') then
      new[#new + 1] = event.id
      local person = prefix .. 'person:' .. owner(event.person) .. ':'
      local position = redis.call('INCR', prefix .. 'events:last')
      redis.call('XADD', prefix .. 'events', position .. '-0', 'mark', event.id, 'event', event.data)
      redis.call('ZADD', person .. 'events', position, position)
      redis.call('ZADD', prefix .. 'times', event.time, string.format('%012d', position))
      for _, set in ipairs(event.sets) do rank(person .. set.name, set.score, set.member, set.limit) end
      if event.mass then count_popularity(event, person .. 'shares') end
      if event.day and redis.call(
          'HSETNX', person .. 'bought', event.day .. ':' .. event.item, position .. ':' .. event.category) == 1 then
        local days = redis.call('HINCRBY', person .. 'days', event.item, 1)
        for _, key in ipairs(event.keys) do
          if days == 1 then redis.call('HINCRBY', prefix .. 'buyers', key, 1) end
          if days == 2 then redis.call('HINCRBY', prefix .. 'again', key, 1) end
        end
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

# The document names visitor and user, and the limits of the bounded sets. Answers {-1} if the visitor is another's.
MERGE = (
    _SHARED
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
local moved = {redis.call('ZCARD', from .. 'events'), redis.call('ZCARD', from .. 'impressions')}
local function unite(set)
  redis.call('ZUNIONSTORE', to .. set, 2, to .. set, from .. set, 'AGGREGATE', 'MAX')
  redis.call('DEL', from .. set)
end
for _, log in ipairs({'events', 'impressions', 'whole_rankings'}) do unite(log) end
for set, limit in pairs(document.limits) do
  unite(set)
  redis.call('ZREMRANGEBYRANK', to .. set, 0, -1 - limit)
end

-- As domain/repurchase.py: the first recorded day of an item counts a buyer, the second one a buyer who bought again.
local function days_of(person, into)
  local fields = redis.call('HGETALL', person .. 'bought')
  for at = 1, #fields, 2 do
    local position, category = fields[at + 1]:match('^(%d+):(.*)$')
    local known = into[fields[at]]
    if not known or tonumber(position) < known.position then
      into[fields[at]] = {position = tonumber(position), category = category, item = fields[at]:match('^%-?%d+:(.*)$')}
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
count(days_of(from, {}), -1)
count(days_of(to, {}), -1)
local together = days_of(to, days_of(from, {}))
count(together, 1)
redis.call('DEL', from .. 'bought', from .. 'days', to .. 'bought', to .. 'days')
for field, day in pairs(together) do
  redis.call('HSET', to .. 'bought', field, day.position .. ':' .. day.category)
  redis.call('HINCRBY', to .. 'days', day.item, 1)
end
return moved
"""
)

# The document names the person, the time, and the seconds that the deletion is remembered.
DELETE_PERSON = (
    _SHARED
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
for _, name in ipairs({'events', 'impressions', 'whole_rankings', 'recent', 'lasting', 'purchases', 'shown', 'shares',
    'bought', 'days'}) do
  redis.call('DEL', own .. name)
end
local visitors = redis.call('SMEMBERS', prefix .. 'visitors:' .. person)
visitors[#visitors + 1] = person
for _, each in ipairs(visitors) do
  redis.call('DEL', prefix .. 'merged:' .. each)
  redis.call('SET', prefix .. 'forgotten:' .. redis.sha1hex(each), document.time, 'EX', document.remembered_s)
end
redis.call('DEL', prefix .. 'visitors:' .. person)
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
      local share = tonumber(redis.call('ZSCORE', own .. 'shares', entry.item) or nil)
      if share and share <= tonumber(entry.mass) then redis.call('ZREM', own .. 'shares', entry.item) end
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
"""
)
