"""What Redis runs as one step: whole or not at all. KEYS[1] is a tenant's prefix, ARGV[1] a JSON document."""

from __future__ import annotations

# cjson reads [] as an object, which ipairs walks all the same. Numbers that must stay exact come as strings.
RECORD = """
local prefix = KEYS[1]
local answer = {}
local function rank(set, score, member, limit)
  redis.call('ZADD', set, score, member)
  redis.call('ZREMRANGEBYRANK', set, 0, -1 - limit)
end
for place, batch in ipairs(cjson.decode(ARGV[1])) do
  for _, item in ipairs(batch.items) do redis.call('SET', prefix .. 'item:' .. item.id, item.data) end
  local new = 0
  for _, event in ipairs(batch.events) do
    local user = prefix .. 'user:' .. event.user .. ':'
    local gone = redis.call('GET', prefix .. 'forgotten:' .. event.digest)
    if not (gone and tonumber(event.time) <= tonumber(gone))
        and redis.call('SET', prefix .. 'event:' .. event.id, '1', 'NX') then
      new = new + 1
      local position = redis.call('INCR', prefix .. 'events:last')
      redis.call('XADD', prefix .. 'events', position .. '-0', 'event', event.data)
      redis.call('ZADD', user .. 'events', position, position)
      for _, set in ipairs(event.sets) do rank(user .. set.name, set.score, set.member, set.limit) end
      if event.mass then
        local known = redis.call('ZSCORE', prefix .. 'popularity', event.item)
        local total = tonumber(event.mass)
        if known then
          local a, b = math.max(known, total), math.min(known, total)
          total = a + math.log(1 + 2 ^ (b - a)) / math.log(2)
        end
        redis.call('ZADD', prefix .. 'popularity', string.format('%.17g', total), event.item)
      end
      if event.day and redis.call('SADD', user .. 'bought', event.day .. ':' .. event.item) == 1 then
        local days = redis.call('HINCRBY', user .. 'days', event.item, 1)
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

RECORD_IMPRESSIONS = """
local prefix = KEYS[1]
local new = 0
local document = cjson.decode(ARGV[1])
for _, item in ipairs(document.items) do redis.call('SET', prefix .. 'item:' .. item.id, item.data) end
for _, shown in ipairs(document.impressions) do
  local gone = redis.call('GET', prefix .. 'forgotten:' .. shown.digest)
  if not (gone and tonumber(shown.time) <= tonumber(gone))
      and redis.call('SET', prefix .. 'shown:' .. shown.id, '1', 'NX') then
    new = new + 1
    local position = redis.call('INCR', prefix .. 'impressions:last')
    redis.call('XADD', prefix .. 'impressions', position .. '-0', 'impressions', shown.data)
    if shown.user ~= '' then
      local user = prefix .. 'user:' .. shown.user .. ':'
      redis.call('ZADD', user .. 'impressions', position, position)
      for _, member in ipairs(shown.seen) do redis.call('ZADD', user .. 'seen', shown.time, member) end
      redis.call('ZREMRANGEBYRANK', user .. 'seen', 0, -1 - shown.limit)
    end
  end
end
return new
"""

# ARGV: user id, digest, time, seconds that the deletion is remembered.
DELETE_USER = """
local prefix = KEYS[1]
local user = prefix .. 'user:' .. ARGV[1] .. ':'
local function clear(log, mark)
  local positions = redis.call('ZRANGE', user .. log, 0, -1)
  for _, position in ipairs(positions) do
    local id = position .. '-0'
    for _, entry in ipairs(redis.call('XRANGE', prefix .. log, id, id)) do
      redis.call('DEL', prefix .. mark(cjson.decode(entry[2][2])))
    end
    redis.call('XDEL', prefix .. log, id)
  end
  return #positions
end
local events = clear('events', function(event) return 'event:' .. event.event_id end)
local shown = clear('impressions', function(entry)
  return 'shown:' .. entry.ranking_id .. ':' .. string.format('%d', entry.first)
end)
for _, name in ipairs({'events', 'impressions', 'recent', 'lasting', 'purchases', 'seen', 'bought', 'days'}) do
  redis.call('DEL', user .. name)
end
redis.call('SET', prefix .. 'forgotten:' .. ARGV[2], ARGV[3], 'EX', ARGV[4])
return {events, shown}
"""
