-- Appends and publishes the messages that append.lua does not: for a new or full log, one whose window has changed, one that
-- a node of an earlier version wrote to, and repeats. A repeat changes nothing. For KEYS, ARGV and the reply, see append.lua.
--
-- Two hashes hold the dedupe records, alternately for one time window each. Field `w` is the number of the window. The
-- field of a record is `h` and the hash of its dedupe key: a client chooses how long its keys are, and a record must not be
-- longer for it. Nodes before that write `k` and the whole key, and read nothing else: while one of them runs, all do.

local max_unopened, max_unopened_bytes = tonumber(ARGV[7]), tonumber(ARGV[8])
-- The records outlive a step of the clock of Redis by this much, because Redis expires keys by that clock.
local HASH_TTL = 2 * window + 4 * 3600000
local current = 2 + window_number % 2
local previous = 5 - current

-- Returns the id if it sorts after the last one of a log. Otherwise returns it under a later time: with the same random part
-- it stays unique, and the ids of a log sort by seq however far the clocks of the nodes differ.
local function id_after(log, id)
  local last = log[ID]
  if last < id then return id end
  local high, low, random = tonumber(string.sub(last, 1, 8), 16), tonumber(string.sub(last, 10, 13), 16), string.sub(id, 14)
  if not high or not low then fail(log.meta, 'i') end
  local raised = string.sub(last, 1, 13) .. random
  if last < raised then return raised end
  low = low + 1
  if low > 0xffff then high, low = high + 1, 0 end
  if high > 0xffffffff then fail(log.meta, 'i') end
  return string.format('%08x-%04x', high, low) .. random
end

-- Looks for a record in a hash. Returns whether the hash is of window `min_number` or later, the record, and whether the hash
-- is of any window. A hash of a later window counts too: then the clock was set back.
local function find_record(key, min_number, fields)
  local found = redis.call('HMGET', key, 'w', unpack(fields))
  return found[1] and parse(key, 'w', found[1]) >= min_number, found[2] or found[3], found[1]
end

-- Looks for the record of the message in both hashes of a log, and notes what there is to do before one is written.
local function look_up(log, fields)
  local is_ready, record, has_window = find_record(KEYS[log.key + current], window_number, fields)
  local has_previous, earlier = find_record(KEYS[log.key + previous], window_number - 1, fields)
  log.is_ready, log.must_empty = is_ready, has_window and not is_ready
  if not is_ready or log[WINDOW] ~= window_number or now >= log[HASH_ENDS] then log[HASH_ENDS] = now + HASH_TTL end
  log[WINDOW], log[HAS_PREVIOUS] = window_number, has_previous and 1 or 0
  record = is_ready and record or has_previous and earlier
  local epoch, seq, id, at = string.match(record or '', '^(%S+) (%S+) (%S+) (%S+)$')
  if epoch == log[EPOCH] then log.record, log.record_seq, log.record_id, log.record_at = record, seq, id, at end
end

-- Writes the record of a message. A hash of an ended window is emptied first: not with DEL, since it is written next. COPY
-- puts the few fields of `meta` in the place of all records.
local function write_record(log, field)
  local hash = KEYS[log.key + current]
  if log.must_empty then redis.call('COPY', log.meta, hash, 'REPLACE') end
  if not log.is_ready then redis.call('HSET', hash, 'w', int(window_number)) end
  redis.call('HSET', hash, field, log.record)
  if log.must_empty then redis.call('HDEL', hash, unpack(META_FIELDS)) end
  if log[HASH_ENDS] == now + HASH_TTL then redis.call('PEXPIRE', hash, int(HASH_TTL)) end
end

-- Whether the message of a record, which the stream does not have, was erased by a retraction: then its text must not come back.
-- An entry that the log no longer holds is not.
local function is_erased(log)
  return log.has_changes and log.record_seq + 0 >= log[FIRST] + 0
    and #redis.call('XRANGE', log.stream, '-', '+', 'COUNT', 1) > 0
end

local function full()
  return { err = 'OOM the memory for messages is used up' }
end

-- Whether the log of a user who has never connected takes no message of this size: the name may be invented. Nothing in it is
-- trimmed for its size: the sender is refused.
local function is_inbox_full(log, size)
  log.is_trimmed = plan_trim(log, max_age, math.huge, math.huge)
  local count = log[SEQ] - log[FIRST] + 1
  return count > 0 and (count >= math.min(max_unopened, max_messages)
    or log[BYTES] + size > math.min(max_unopened_bytes, max_bytes))
end

-- Returns the bytes of the blocks of entries up to the last whole one, and the seq of its end, so that most entries can be
-- deleted without reading them. The first block may be longer than the others, or what is left of one. Returns nothing if the
-- blocks are not known: a node of an earlier version does not count them.
local function read_blocks(log)
  local seq, sums, sum = log[SEQ] + 0, {}, 0
  local finish = seq - seq % block
  local is_valid, first, length, last, list = pcall(cmsgpack.unpack, log.blocks or '')
  if is_valid and first == log[FIRST] and length == block and type(list) == 'table'
    and (last == finish or seq == finish and last == finish - block) then
    for i, bytes in ipairs(list) do sums[i], sum = bytes, sum + bytes end
    if last ~= finish then sums[#sums + 1] = log[BYTES] - sum end
  elseif seq == finish then
    if log[FIRST] + 0 <= seq then sums[1] = log[BYTES] end
  else
    return
  end
  return sums, finish
end

-- Decides which entries go before a message of `size` bytes is stored.
local function plan(log, size)
  local seq, first = log[SEQ] + 0, log[FIRST] + 0
  local function exceeds()
    return first <= seq
      and (seq - first + 2 > max_count or log[BYTES] + size > max_bytes or log[FIRST_AT] <= oldest_at)
  end
  if seq % block == 0 or exceeds() then
    local sums, finish = read_blocks(log)
    while sums and #sums > 0 do
      local start = finish - block * (#sums - 1) + 1
      if start - first > block or seq + 2 - start < max_messages then break end
      first, log[BYTES], log.is_trimmed = start, log[BYTES] - table.remove(sums, 1), true
    end
    log[FIRST] = int(first)
    if exceeds() then
      local rest_bytes = log[BYTES]
      for _, bytes in ipairs(sums or {}) do rest_bytes = rest_bytes - bytes end
      log.is_trimmed = plan_trim(log, max_age, max_messages, max_bytes, size) or log.is_trimmed
      first = log[FIRST] + 0
      while sums and #sums > 0 and finish - block * (#sums - 1) < first do table.remove(sums, 1) end
      if sums and #sums > 0 then
        sums[1] = log[BYTES] - rest_bytes
        for i = 2, #sums do sums[1] = sums[1] - sums[i] end
      end
    end
    if sums then log.new_blocks = cmsgpack.pack(log[FIRST], block, finish, sums) end
  end
  log.begins = first > seq
end

-- Writes a message to one log. Returns an error if nothing was written.
local function write(log, id, sent_at, body, field)
  if log.is_new then begin(log, max_age) end
  if log.begins then log[FIRST_AT] = math.max(now, log[AT]) end
  local must_extend = now >= log[EXTEND_AT]
  local extension = math.max(1, math.min(math.floor(max_age / 4), DAY))
  if must_extend then log[EXTEND_AT] = now + extension end
  local seq, start = next_record(log, id)
  local failed = append(log, log.key, seq, start, id, body, log.channel, log.is_trimmed and log[FIRST] .. '-0')
  if failed then return failed end
  log.record = start .. sent_at
  if log.begins or log.is_trimmed then
    redis.call('HSET', log.meta, 'f', log[FIRST], 'h', int(log[FIRST_AT]))
  end
  if log.new_blocks then redis.call('HSET', log.meta, 'y', log.new_blocks) end
  -- An unused stream expires when all its entries have. The expiry is not extended each time, because it is an extra write.
  if must_extend then
    redis.call('PEXPIRE', log.stream, int(max_age + extension))
    redis.call('PEXPIRE', log.meta, int(meta_ttl(max_age)))
  end
  if field then write_record(log, field) end
end

-- Handles an item whose arguments begin at `at`, and its keys at `key`.
local function publish(at, key)
  local id, sent_at, body, count = ARGV[at + 3], ARGV[at + 4], ARGV[at + 6], ARGV[at] + 0
  local hash_field, key_field = 'h' .. ARGV[at + 1], 'k' .. ARGV[at + 2]
  local is_repeatable, terms = ARGV[at + 1] ~= '', ARGV[at + 5] + 0
  local is_change = terms >= 16
  if is_change then terms = terms - 16 end
  local is_second, is_first, only_repeat, is_charged =
    terms == 8, terms % 8 >= 4, terms % 4 >= 2, terms % 2 == 1
  local logs, missing, complete_log, begins_log, new_body = {}, 0, nil, false, ''
  for i = 1, count do
    local log = read_log(KEYS[key], KEYS[key + 1], ARGV[at + 6 + 2 * i])
    begins_log = begins_log or log.is_new
    if log[SEQ] + 0 == MAX_INT then fail(log.meta, 's') end
    log.key, log.channel = key, ARGV[at + 5 + 2 * i]
    if log.is_older or has_older_nodes and is_repeatable then log[OLDER_WINDOW] = window_number end
    if is_repeatable then look_up(log, { hash_field, key_field }) end
    if log.record then complete_log = complete_log or log else missing = missing + 1 end
    logs[i], key = log, key + (is_repeatable and 4 or 2)
    if is_change then log.change_key, key = KEYS[key], key + 1 end
  end
  local last = logs[count]
  if missing == 0 then
    if not is_first then return last.record .. ' 1 0' end
    local entry_id = last.record_seq .. '-0'
    local entry = redis.call('XRANGE', last.stream, entry_id, entry_id)[1]
    if not entry and is_erased(last) then return '!gone' end
    return last.record .. ' 1 0' .. (entry and entry[2][2] == last.record_id and '\n' .. entry[2][8] or '')
  end

  if complete_log then
    -- Only one of two logs holds the message: the other gets the same message as it was stored. If that
    -- log is new, this takes memory.
    if is_full and begins_log then return full() end
    id, sent_at = complete_log.record_id, complete_log.record_at
    local entry_id = complete_log.record_seq .. '-0'
    local entry = redis.call('XRANGE', complete_log.stream, entry_id, entry_id)[1]
    if entry and entry[2][2] == id then body = entry[2][8] end
    if not entry and is_erased(complete_log) then return '!gone' end
  elseif is_second then
    if is_full and begins_log then return full() end
  else
    if only_repeat then return { err = 'NOREPEAT no log holds the message' } end
    if is_full then return full() end
    if (count == 2 or is_first) and is_charged and logs[1].is_unopened and is_inbox_full(logs[1], #body) then
      return { err = 'INBOXFULL the user has never connected' }
    end
    local raised = id
    for _, log in ipairs(logs) do raised = id_after(log, raised) end
    -- The body names the id. No client knows it yet, so the first occurrence is the one.
    local is_other
    body, is_other = with_id(body, id, raised)
    if is_other and is_first then new_body = '\n' .. body end
    id = raised
  end

  if is_change then
    local base = at + 7 + 2 * count
    local change = { target = ARGV[base], author = ARGV[base + 1], window = tonumber(ARGV[base + 2]), kind = ARGV[base + 3],
      value = ARGV[base + 4], extra = ARGV[base + 5] }
    for i, log in ipairs(logs) do
      if not log.record then
        change.key = log.change_key
        log.change = read_change(log, change)
        local why_not = i == 1 and not complete_log and not is_second and refuse_change(log, change, max_bytes)
        if why_not then return why_not end
      end
    end
    logs.change = change
  end

  local begun = 0
  for _, log in ipairs(logs) do
    if not log.record then
      plan(log, #body)
      if is_change then plan_change(log, logs.change) end
      if log.begins then begun = begun + 1 end
    end
  end
  for i, log in ipairs(logs) do
    if not log.record then
      local seq = next_record(log, id)
      if is_change and logs.change.kind == 'R' then log.new_blocks = nil end
      local failed = write(log, id, sent_at, body, is_repeatable and (has_older_nodes and key_field or hash_field))
      if failed then return failed end
      if is_change then apply_change(log, logs.change, id, seq, max_age + math.max(60000, math.floor(max_age / 4))) end
      if log.is_new and (i < count or is_first) and not complete_log then redis.call('HSET', log.meta, 'n', 1) end
    end
  end
  return last.record .. ' 0 ' .. begun .. new_body
end

while ARGV[at] do
  if not append_next() then
    reply_with(pcall(publish, at, key))
  end
end
return replies
