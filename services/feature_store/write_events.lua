-- Writes events of one user, once each. Redis runs a script alone and whole, so concurrent writers lose nothing.
--
-- KEYS: 1 history, 2 user counters, 3 item counters, 4 log, 5.. one event-id key per event
-- ARGV: 1 seconds an event id is remembered, 2 history length limit, 3 log length limit, 4 user id,
--       then per event, in event-time order: event id, item id, type, whether it enters the history (1/0),
--       and its packed history record
-- Returns {history length, 1 or 0 per event: written now or before}
local RECORD = 21
local ARGS_PER_EVENT = 5
local COUNTERS = '<i8i8i8i8'  -- impressions, clicks, watches, ratings: the order of EventType

local function time_of(packed, index)
  return (struct.unpack('<i8', packed, index * RECORD + 9))
end

-- Number of records at or before `time`: a later arrival of the same time goes after the earlier ones.
local function position_for(packed, time)
  local low, high = 0, #packed / RECORD
  while low < high do
    local middle = math.floor((low + high) / 2)
    if time_of(packed, middle) <= time then low = middle + 1 else high = middle end
  end
  return low
end

-- One packed value per item, so that readers of many items over all shards need no parsing.
local function count_item(item, type)
  local packed = redis.call('HGET', KEYS[3], item)
  local counts = packed and {struct.unpack(COUNTERS, packed)} or {0, 0, 0, 0}
  counts[type] = counts[type] + 1
  redis.call('HSET', KEYS[3], item, struct.pack(COUNTERS, unpack(counts, 1, 4)))
end

local result, fresh = {0}, {}
for event = 1, #KEYS - 4 do
  local first = 4 + (event - 1) * ARGS_PER_EVENT
  local id, item, type = ARGV[first + 1], ARGV[first + 2], ARGV[first + 3]
  local enters_history, record = ARGV[first + 4] == '1', ARGV[first + 5]
  local is_new = redis.call('SET', KEYS[4 + event], '', 'NX', 'EX', ARGV[1])
  result[event + 1] = is_new and 1 or 0
  if is_new then
    redis.call('HINCRBY', KEYS[2], type, 1)
    count_item(item, tonumber(type))
    redis.call('XADD', KEYS[4], 'MAXLEN', '~', ARGV[3], '*',
      'user', ARGV[4], 'event', id, 'type', type, 'record', record)
    if enters_history then fresh[#fresh + 1] = record end
  end
end

local stored_bytes = redis.call('STRLEN', KEYS[1])
local limit_bytes = tonumber(ARGV[2]) * RECORD
local new_bytes = #fresh * RECORD
result[1] = math.min(stored_bytes + new_bytes, limit_bytes) / RECORD
if new_bytes == 0 then return result end

local newest = stored_bytes > 0 and redis.call('GETRANGE', KEYS[1], stored_bytes - RECORD, -1)
local in_order = not newest or time_of(newest, 0) <= time_of(fresh[1], 0)
if in_order and stored_bytes + new_bytes <= limit_bytes then
  redis.call('APPEND', KEYS[1], table.concat(fresh))
  return result
end

local stored = redis.call('GET', KEYS[1]) or ''
local pieces, taken = {}, 0
for _, record in ipairs(fresh) do
  local position = position_for(stored, time_of(record, 0))
  pieces[#pieces + 1] = string.sub(stored, taken * RECORD + 1, position * RECORD)
  pieces[#pieces + 1] = record
  taken = position
end
pieces[#pieces + 1] = string.sub(stored, taken * RECORD + 1)
redis.call('SET', KEYS[1], string.sub(table.concat(pieces), -limit_bytes))
return result
