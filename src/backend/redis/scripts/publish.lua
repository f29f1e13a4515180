-- Appends a message to one or two logs and publishes it on their channels. A duplicate changes nothing.
--
-- KEYS: the four keys of each log (see log.lua).
-- ARGV: dedupe key, message id, sent_at, body, max messages, max age in ms, max bytes, dedupe window in ms,
--       then for each log: its channel, and the epoch for a new log.
-- Returns epoch, seq, message id and sent_at in the last log, and 1 if all logs already held the message.
--
-- Two hashes hold the dedupe records, alternately for one time window each. Field `w` is the number of the window. The
-- field of a record is `k` and its dedupe key, so that no client's key can be `w`.

local dedupe_key, message_id, sent_at, body = 'k' .. ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local max_messages, max_age, max_bytes, window =
  tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local window_number = math.floor(now / window)
local current, previous = 2 + window_number % 2, 2 + (window_number + 1) % 2

-- Looks for the dedupe key in a hash. Returns whether the hash is of window `min_number` or later, and the record. A hash
-- of a later window counts too: then the clock was set back.
local function find_record(key, min_number)
  local found = redis.call('HMGET', key, 'w', dedupe_key)
  return found[1] and parse(key, 'w', found[1]) >= min_number, found[2]
end

local logs, missing, complete_log = {}, 0, nil
for i = 1, #KEYS / 4 do
  local base = 4 * (i - 1) + 1
  local log = open_log(base, ARGV[8 + 2 * i], max_age)
  if log.seq == MAX_INT then fail(log.meta, 's') end
  log.channel, log.dedupe = ARGV[7 + 2 * i], KEYS[base + current]
  local is_valid, record = find_record(log.dedupe, window_number)
  log.must_rotate = not is_valid
  if not (is_valid and record) then
    is_valid, record = find_record(KEYS[base + previous], window_number - 1)
  end
  if is_valid and record then
    local epoch, seq, id, at = string.match(record, '^(%S+) (%S+) (%S+) (%S+)$')
    if epoch == log.epoch then
      log.record = { seq = seq, id = id, at = at }
      complete_log = complete_log or log
    end
  end
  if not log.record then missing = missing + 1 end
  logs[i] = log
end

-- If only one of two logs holds the message, the other gets the same message as it was stored.
if complete_log and missing > 0 then
  local record = complete_log.record
  message_id, sent_at = record.id, record.at
  local entry = redis.call('XRANGE', complete_log.stream, record.seq .. '-0', record.seq .. '-0')[1]
  if entry and entry[2][2] == message_id then body = entry[2][8] end
end

for _, log in ipairs(logs) do
  if not log.record then
    local prev, previous_stored_at = log.last_id, log.last_stored_at
    log.seq, log.last_id, log.bytes = log.seq + 1, message_id, log.bytes + #body
    -- Never earlier than the previous entry, so that expired entries are always the oldest ones.
    log.last_stored_at = math.max(now, previous_stored_at)
    if log.first_seq == log.seq then log.first_stored_at = log.last_stored_at end
    local seq = int(log.seq)
    local added = redis.pcall('XADD', log.stream, seq .. '-0', 'i', message_id, 'p', prev, 't', int(log.last_stored_at),
      'b', body)
    if type(added) == 'table' and added.err then
      -- The stream has had an entry beyond the newest message of the log.
      if string.find(added.err, 'equal or smaller', 1, true) then fail(log.stream, 'entry') end
      return added
    end
    trim(log, max_messages, max_bytes)
    save(log)
    -- An unused stream expires when all its entries have. The expiry is not extended each time, because it is an extra
    -- write.
    local slice = math.max(1, math.floor(max_age / 4))
    if math.floor(previous_stored_at / slice) ~= math.floor(log.last_stored_at / slice) then
      redis.call('PEXPIRE', log.stream, int(max_age + slice))
    end
    if math.floor(previous_stored_at / DAY) ~= math.floor(log.last_stored_at / DAY) then
      redis.call('PEXPIRE', log.meta, int(log.meta_ttl))
    end
    if log.must_rotate then
      redis.call('DEL', log.dedupe)
      redis.call('HSET', log.dedupe, 'w', int(window_number))
      redis.call('PEXPIRE', log.dedupe, int(2 * window))
    end
    redis.call('HSET', log.dedupe, dedupe_key, log.epoch .. ' ' .. seq .. ' ' .. message_id .. ' ' .. sent_at)
    if prev == '' then prev = '-' end
    redis.call('PUBLISH', log.channel, 'M ' .. log.epoch .. ' ' .. seq .. ' ' .. message_id .. ' ' .. prev .. ' '
      .. int(log.last_stored_at) .. '\n' .. body)
    log.record = { seq = seq, id = message_id, at = sent_at }
  end
end

local last = logs[#logs]
return { last.epoch, last.record.seq, last.record.id, last.record.at, missing == 0 and 1 or 0 }
