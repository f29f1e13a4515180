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

-- Whether the entry of a record, which the stream does not have, was erased by a retraction: then its text must not come back.
-- An entry that the log no longer holds is not.
local function is_erased(log, is_change)
  if not log.has_changes or log.record_seq + 0 < log[FIRST] + 0 then return false end
  -- Old changes go while the messages before and after them stay.
  if is_change then return redis.call('HEXISTS', log.change_key, change_field(log, 't', log.record_seq)) == 1 end
  return #redis.call('XRANGE', log.stream, '-', '+', 'COUNT', 1) > 0
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

-- Takes an entry that stands between others out of the sums of the log and of its block, before it is deleted.
local function free_between(log, blocks, seq, body)
  if log.freed[seq] then return end
  free(log, seq, body)
  log.freed[seq] = true
  local at = blocks and #blocks.sums - math.floor((blocks.finish - seq) / block)
  if at and at <= #blocks.sums and #blocks.sums > 0 then
    -- The first block may be longer.
    at = math.max(1, at)
    local counts = is_change_body(body) and blocks.changes or blocks.messages
    blocks.sums[at], counts[at] = blocks.sums[at] - #body, counts[at] - 1
  end
end

-- Decides which of the oldest changes go: if there are too many, or if the log takes too many bytes. Messages stay for it: only
-- resumes need these entries, and what they came to is in the hash of changes.
local function plan_changes(log, blocks, size, added)
  local max_changes, floor = 4 * max_messages, math.max(log.floor, log[FIRST] - 1)
  local kept = max_changes + added - 1
  local function exceeds()
    return log[CHANGES] > 0 and (log[CHANGES] > kept or log[BYTES] + size > max_bytes)
  end
  log.deleted = {}
  -- At most so many batches in one call: each entry is looked at once.
  for _ = 1, 16 do
    if not exceeds() then break end
    -- Some more at once, so that not every change reads entries.
    kept = math.min(kept, max_changes - math.min(64, math.floor(max_changes / 32)))
    local batch = redis.call('XRANGE', log.stream, int(floor + 1) .. '-0', '+', 'COUNT', 64)
    if #batch == 0 then break end
    for _, entry in ipairs(batch) do
      if not exceeds() then break end
      floor = seq_of(log, entry)
      if is_change_body(entry[2][8]) then
        log.deleted[#log.deleted + 1] = entry[1]
        free_between(log, blocks, floor, entry[2][8])
      end
    end
  end
  if #log.deleted > 0 then log.floor = floor end
end

-- Decides which entries go before one of `size` bytes is stored, a message (`added` is 1) or a change (0). `erased` are the entries
-- that a retraction erases.
local function plan(log, size, added, erased)
  local seq, first = log[SEQ] + 0, log[FIRST] + 0
  log.freed = {}
  local function exceeds()
    return first <= seq and (count_messages(log) + added > max_count or log[BYTES] + size > max_bytes
      or log[FIRST_AT] <= oldest_at)
  end
  if log[MESSAGES] or seq % block == 0 or exceeds() then
    local blocks = read_blocks(log, block)
    for _, entry in ipairs(erased) do free_between(log, blocks, entry[1], entry[2][8]) end
    if log[MESSAGES] then plan_changes(log, blocks, size, added) end
    local sums, messages, changes = {}, {}, {}
    if blocks then sums, messages, changes = blocks.sums, blocks.messages, blocks.changes end
    while #sums > 0 do
      local start = blocks.finish - block * (#sums - 1) + 1
      if start - first > block or count_messages(log) + added - messages[1] < max_messages then break end
      first, log[BYTES], log.is_trimmed = start, log[BYTES] - table.remove(sums, 1), true
      local held, changed = table.remove(messages, 1), table.remove(changes, 1)
      if log[MESSAGES] then log[MESSAGES], log[CHANGES] = log[MESSAGES] - held, log[CHANGES] - changed end
      log[FIRST] = int(first)
    end
    if exceeds() then
      local rest_bytes, rest_messages, rest_changes =
        log[BYTES] - total(sums), count_messages(log) - total(messages), (log[CHANGES] or 0) - total(changes)
      log.is_trimmed = plan_trim(log, max_age, max_messages, max_bytes, size, added) or log.is_trimmed
      first = log[FIRST] + 0
      while #sums > 0 and blocks.finish - block * (#sums - 1) < first do
        for _, numbers in ipairs({ sums, messages, changes }) do table.remove(numbers, 1) end
      end
      if #sums > 0 then
        sums[1] = sums[1] + log[BYTES] - rest_bytes - total(sums)
        messages[1] = messages[1] + count_messages(log) - rest_messages - total(messages)
        changes[1] = changes[1] + (log[CHANGES] or 0) - rest_changes - total(changes)
      end
    end
    if blocks and log[MESSAGES] then
      log.new_blocks = cmsgpack.pack(log[FIRST], block, blocks.finish, sums, messages, changes)
    elseif blocks then
      log.new_blocks = cmsgpack.pack(log[FIRST], block, blocks.finish, sums)
    end
  end
  log.begins = first > seq
end

-- Writes a message or a change to one log. Returns an error if nothing was written.
local function write(log, id, sent_at, body, field, is_change)
  if log.is_new then begin(log, max_age) end
  if log.begins then log[FIRST_AT] = math.max(now, log[AT]) end
  local must_extend = now >= log[EXTEND_AT]
  local extension = math.max(1, math.min(math.floor(max_age / 4), DAY))
  if must_extend then log[EXTEND_AT] = now + extension end
  local seq, start = next_record(log, id)
  local failed = append(log, log.key, seq, start, id, body, log.channel, log.is_trimmed and log[FIRST] .. '-0', is_change)
  if failed then return failed end
  log.record = start .. sent_at
  if log.begins or log.is_trimmed then
    redis.call('HSET', log.meta, 'f', log[FIRST], 'h', int(log[FIRST_AT]))
  end
  if log.new_blocks and log.new_blocks ~= log.blocks then redis.call('HSET', log.meta, 'y', log.new_blocks) end
  if log.deleted and #log.deleted > 0 then
    redis.call('XDEL', log.stream, unpack(log.deleted))
    redis.call('HSET', log.meta, 'p', int(log.floor))
  end
  -- An unused stream expires when all its entries have. The expiry is not extended each time, because it is an extra write.
  if must_extend then
    redis.call('PEXPIRE', log.stream, int(max_age + extension))
    if not log.has_rights then redis.call('PEXPIRE', log.meta, int(meta_ttl(max_age))) end
  end
  if field then write_record(log, field) end
end

-- Handles an item whose arguments begin at `at`, and its keys at `key`.
local function publish(at, key)
  local id, sent_at, body, count = ARGV[at + 3], ARGV[at + 4], ARGV[at + 6], ARGV[at] + 0
  local hash_field, key_field = 'h' .. ARGV[at + 1], 'k' .. ARGV[at + 2]
  local is_repeatable, terms = ARGV[at + 1] ~= '', ARGV[at + 5] + 0
  local names_rights, is_of_rights = terms >= 64, terms >= 128
  local has_links = terms % 64 >= 32
  local is_change = terms % 32 >= 16 and not has_links
  terms = terms % 16
  local is_second, is_first, only_repeat, is_charged =
    terms == 8, terms % 8 >= 4, terms % 4 >= 2, terms % 2 == 1
  local logs, missing, complete_log, begins_log, new_body, rights = {}, 0, nil, false, '', nil
  for i = 1, count do
    local log = read_log(KEYS[key], KEYS[key + 1], ARGV[at + 6 + 2 * i])
    begins_log = begins_log or log.is_new
    if log.has_changes then count_changes(log) end
    if log[SEQ] + 0 == MAX_INT then fail(log.meta, 's') end
    log.key, log.channel = key, ARGV[at + 5 + 2 * i]
    if log.is_older or has_older_nodes and is_repeatable then log[OLDER_WINDOW] = window_number end
    if is_repeatable then look_up(log, { hash_field, key_field }) end
    if log.record then complete_log = complete_log or log else missing = missing + 1 end
    logs[i], key = log, key + (is_repeatable and 4 or 2)
    if is_change or has_links then log.change_key, key = KEYS[key], key + 1 end
  end
  -- The rights of the first log count: those of a room, or whom the target of a private message blocks.
  local first, last = logs[1], logs[count]
  local argument = at + 7 + 2 * count + (is_change and 7 or has_links and 2 or 0)
  -- A note for one user is no message either.
  local is_note = is_of_rights and ARGV[argument + 2] == 'note'
  if first.has_rights and not names_rights and not is_second then return '!rights' end
  if missing == 0 then
    if not is_first then return last.record .. ' 1 0' end
    local entry_id = last.record_seq .. '-0'
    local entry = redis.call('XRANGE', last.stream, entry_id, entry_id)[1]
    if not entry and is_erased(last, is_change) then return '!gone' end
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
    if not entry and is_erased(complete_log, is_change) then return '!gone' end
  elseif is_second then
    if is_full and begins_log then return full() end
  else
    if only_repeat then return { err = 'NOREPEAT no log holds the message' } end
    if is_full then return full() end
    if names_rights and (first.has_rights or is_of_rights and not is_note) then
      local author, other = ARGV[argument + 1], is_of_rights and ARGV[argument + 3] or ''
      rights = rights_function('read')(KEYS[key], ARGV[argument], is_of_rights and other or author)
      rights.target = other
      local why_not
      if is_note then
        why_not = rights_function('refuse_writing')(rights, 'c')
        rights = nil
      elseif is_of_rights and ARGV[argument + 2] == 'room' then
        local is_empty = last[SEQ] == '0' and redis.call('ZCARD', KEYS[key + 2]) == 0
        why_not = rights_function('plan_room')(rights, is_empty, ARGV[argument + 4], ARGV[argument + 5], ARGV[argument + 6], other)
      elseif is_of_rights then
        -- What has no end ends at the largest number that is exact.
        local until_ = ARGV[argument + 5] == '' and MAX_INT or tonumber(ARGV[argument + 5])
        why_not = rights_function('plan_action')(rights, ARGV[argument + 2], ARGV[argument + 4], until_)
      else
        local kind = is_change and ARGV[at + 10 + 2 * count]
        local act = not is_change and 'w' or kind ~= 'R' and 'c' or author == '' and 'r' or 'm'
        why_not = rights_function('refuse_writing')(rights, act, KEYS[key + 1])
      end
      if why_not == '!unchanged' then return '!unchanged ' .. last[EPOCH] end
      if why_not then return why_not end
    end
    if (count == 2 or is_first or is_note) and is_charged and logs[1].is_unopened and is_inbox_full(logs[1], #body) then
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

  local base = at + 7 + 2 * count
  if is_change then
    local change = { target = ARGV[base], author = ARGV[base + 1], window = tonumber(ARGV[base + 2]), kind = ARGV[base + 3],
      value = ARGV[base + 4], extra = ARGV[base + 5], max_bytes = tonumber(ARGV[base + 6]) }
    for i, log in ipairs(logs) do
      if not log.record then
        count_changes(log)
        log.change = read_change(log, change)
        local decides = i == 1 and not complete_log and not is_second
        local why_not = decides and refuse_change(log, change, max_bytes)
        -- It was accepted before a retraction that this log has got first. Its text must not stay here.
        if not decides and log.change.is_gone and change.kind == 'E' then why_not = '!gone' end
        if why_not then return why_not end
      end
    end
    logs.change = change
  end

  local begun = 0
  for _, log in ipairs(logs) do
    if not log.record then
      if has_links then log.links = read_links(log, ARGV[base], ARGV[base + 1], max_bytes) end
      if log.links or is_of_rights then count_changes(log) end
      log.has_rights = log.has_rights or is_of_rights and not is_note
      plan(log, #body, (is_change or is_of_rights) and 0 or 1, is_change and log.change.erased or {})
      if log.begins then begun = begun + 1 end
    end
  end
  local changes_ttl = max_age + math.max(60000, math.floor(max_age / 4))
  for i, log in ipairs(logs) do
    if not log.record then
      local seq = next_record(log, id)
      local field = is_repeatable and (has_older_nodes and key_field or hash_field)
      local failed = write(log, id, sent_at, body, field, is_change or is_of_rights)
      if failed then return failed end
      if is_change then apply_change(log, logs.change, id, seq, changes_ttl) end
      if log.links then apply_links(log, changes_ttl) end
      if is_of_rights then redis.call('HSET', log.meta, 'x', 1) end
      if rights then
        local apply = is_of_rights and rights_function('apply') or rights_function('note_message')
        apply(rights, is_of_rights and log or KEYS[key + 1])
      end
      if log.is_new and (i < count or is_first or is_note) and not complete_log then redis.call('HSET', log.meta, 'n', 1) end
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
