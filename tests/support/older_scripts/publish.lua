-- Appends one message to one log or two, and publishes it on their channels; or finds that this was done before.
--
-- KEYS: each log's four (see log.lua).
-- ARGV: dedupe key, message id, sent_at, body, max messages, max age ms, max bytes, dedupe window ms,
--       then per log: its channel, and an epoch in case it starts afresh.
-- Returns epoch, seq, message id, sent_at, and 1 if all logs had it: of the last log.
--
-- Dedupe records are kept in two hashes that take turns, each for one window of time; `w` is the window's number, and
-- a record's field is `k` and its dedupe key, so that no key of a client can be `w`.

local dedupe_key, message_id, sent_at, body = 'k' .. ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local max_messages, max_age, max_bytes, window =
  tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local number = math.floor(now / window)
local current, previous = 2 + number % 2, 2 + (number + 1) % 2

-- A hash of a later window than expected is honoured as well: the clock was set back.
local function recorded(key, least)
  local found = redis.call('HMGET', key, 'w', dedupe_key)
  return found[1] and tonumber(found[1]) >= least, found[2]
end

local logs, missing, first = {}, 0, nil
for i = 1, #KEYS / 4 do
  local base = 4 * (i - 1) + 1
  local log = open_log(base, ARGV[8 + 2 * i], max_age)
  log.channel, log.dedupe = ARGV[7 + 2 * i], KEYS[base + current]
  local valid, record = recorded(log.dedupe, number)
  log.rotate = not valid
  if not (valid and record) then
    valid, record = recorded(KEYS[base + previous], number - 1)
  end
  if valid and record then
    local epoch, seq, id, at = string.match(record, '^(%S+) (%S+) (%S+) (%S+)$')
    if epoch == log.epoch then
      log.record = { seq = seq, id = id, at = at }
      first = first or log
    end
  end
  if not log.record then missing = missing + 1 end
  logs[i] = log
end

-- One log has it and the other has not: the other gets the first's message, as it was stored.
if first and missing > 0 then
  message_id, sent_at = first.record.id, first.record.at
  local entry = redis.call('XRANGE', first.stream, first.record.seq .. '-0', first.record.seq .. '-0')[1]
  if entry and entry[2][2] == message_id then body = entry[2][8] end
end

for _, log in ipairs(logs) do
  if not log.record then
    local prev, last_at = log.last, log.at
    log.seq, log.last, log.bytes = log.seq + 1, message_id, log.bytes + #body
    -- Never earlier than the one before, so that what has expired is always a head of the log.
    log.at = math.max(now, last_at)
    if log.first == log.seq then log.head_at = log.at end
    local seq = int(log.seq)
    redis.call('XADD', log.stream, seq .. '-0', 'i', message_id, 'p', prev, 't', int(log.at), 'b', body)
    trim(log, max_messages, max_bytes)
    save(log)
    -- Dead streams go by themselves once all of them has expired. Not refreshed each time: it is a write of its own.
    local slice = math.max(1, math.floor(max_age / 4))
    if math.floor(last_at / slice) ~= math.floor(log.at / slice) then
      redis.call('PEXPIRE', log.stream, int(max_age + slice))
    end
    if math.floor(last_at / DAY) ~= math.floor(log.at / DAY) then
      redis.call('PEXPIRE', log.meta, int(log.meta_ttl))
    end
    if log.rotate then
      redis.call('DEL', log.dedupe)
      redis.call('HSET', log.dedupe, 'w', int(number))
      redis.call('PEXPIRE', log.dedupe, int(2 * window))
    end
    redis.call('HSET', log.dedupe, dedupe_key, log.epoch .. ' ' .. seq .. ' ' .. message_id .. ' ' .. sent_at)
    if prev == '' then prev = '-' end
    redis.call('PUBLISH', log.channel, 'M ' .. log.epoch .. ' ' .. seq .. ' ' .. message_id .. ' ' .. prev .. ' '
      .. int(log.at) .. '\n' .. body)
    log.record = { seq = seq, id = message_id, at = sent_at }
  end
end

local last = logs[#logs]
return { last.epoch, last.record.seq, last.record.id, last.record.at, missing == 0 and 1 or 0 }
