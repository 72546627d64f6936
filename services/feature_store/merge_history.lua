-- Merges a loaded history into the stored one, so that a bulk load loses no event that was recorded since its snapshot.
--
-- KEYS: 1 history
-- ARGV: 1 loaded records, oldest first; 2 history length limit
local RECORD = 21

local function time_of(packed, offset)
  return (struct.unpack('<i8', packed, offset + 8))
end

local loaded, limit_bytes = ARGV[1], tonumber(ARGV[2]) * RECORD
local stored = redis.call('GET', KEYS[1]) or ''
if string.sub(stored, 1, #loaded) == loaded then return end  -- the snapshot, with events recorded after it

local is_loaded = {}
for offset = 1, #loaded, RECORD do is_loaded[string.sub(loaded, offset, offset + RECORD - 1)] = true end

local merged, next_loaded = {}, 1
for offset = 1, #stored, RECORD do
  local record = string.sub(stored, offset, offset + RECORD - 1)
  if not is_loaded[record] then
    local first, time = next_loaded, time_of(stored, offset)
    while next_loaded <= #loaded and time_of(loaded, next_loaded) <= time do next_loaded = next_loaded + RECORD end
    merged[#merged + 1] = string.sub(loaded, first, next_loaded - 1)
    merged[#merged + 1] = record
  end
end
merged[#merged + 1] = string.sub(loaded, next_loaded)
redis.call('SET', KEYS[1], string.sub(table.concat(merged), -limit_bytes))
