-- Counts what a user has not read of a log: the messages after a marker that the log still holds and that were not retracted.
-- Writes nothing. It is computed from the log each time, so it can't drift.
--
-- KEYS: meta (hash) and log (stream) of the log (see log.lua), and its hash of changes (see change.lua). Without the last one, the
--       script returns an empty epoch if the log has such a hash (see history.lua).
-- ARGV: max messages, max age in ms, epoch (may be empty) and seq of the marker, the user.
-- Returns epoch, seq and message id of the top, the number of messages, and how many of them mention the user: of those, at most
-- the newest 100 of the log are counted; then 1 if the room has rights. Returns nothing if there is no log.

local max_messages, max_age = tonumber(ARGV[1]), tonumber(ARGV[2])
local log = read_log(KEYS[1], KEYS[2], '')
if log.is_new then return end
if log.has_changes and not KEYS[3] then return { '', 0, '', 0, 0, 0 } end
plan_trim(log, max_age, math.huge, math.huge)
local seq = log[SEQ] + 0
-- A marker beyond the top is of messages that the log has lost: what is there now has been read as far as anyone can tell.
local marker = ARGV[3] == log[EPOCH] and math.min(tonumber(ARGV[4]), seq) or 0
marker = math.max(marker, log[FIRST] - 1)

-- Counts the messages of the stream from one seq to another.
local function count_between(from, to)
  local count = 0
  while from <= to do
    local batch = redis.call('XRANGE', log.stream, int(from) .. '-0', int(to) .. '-0', 'COUNT', 64)
    for _, entry in ipairs(batch) do
      from = seq_of(log, entry) + 1
      if not is_change_body(entry[2][8]) then count = count + 1 end
    end
    if #batch < 64 then break end
  end
  return count
end

-- Most logs are dense. In another one, the messages of whole blocks are known, and only those of one block have to be counted.
local function count_messages_after(place)
  if not log[MESSAGES] then return seq - math.max(place, seq - max_messages) end
  local block = block_of(max_messages)
  local blocks = read_blocks(log, block)
  if not blocks then return count_between(place + 1, seq) end
  if place >= blocks.finish then return count_between(place + 1, seq) end
  -- The block that the marker is in, from the last one: the first one may be longer.
  local behind = math.min(math.floor((blocks.finish - place - 1) / block), #blocks.messages - 1)
  local count = log[MESSAGES] - total(blocks.messages)
  for i = #blocks.messages - behind + 1, #blocks.messages do count = count + blocks.messages[i] end
  return count + count_between(place + 1, blocks.finish - block * behind)
end

local unread = marker < seq and count_messages_after(marker) or 0
local mentions = 0
if unread > 0 and log.has_changes then
  local field = change_field(log, 'm', ARGV[5])
  for _, place in ipairs(unpack_field(KEYS[3], field, redis.call('HGET', KEYS[3], field)) or {}) do
    if place > marker then mentions = mentions + 1 end
  end
end
return { log[EPOCH], seq, log[ID], unread, mentions, log.has_rights and 1 or 0 }
