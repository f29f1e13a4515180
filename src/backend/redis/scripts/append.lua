-- Appends messages to one or two logs each, and publishes them on their channels, in the ordinary case: a log that goes on,
-- with space left, and a message that is no repeat. One look reads the state of a log, and one write saves it. What is not
-- ordinary is left to publish.lua, which follows and goes on from there.
--
-- KEYS: for each log of each item its meta (hash) and log (stream of <seq>-0), and if the item has a dedupe key, d0 and d1
--       (hashes), and if the item is a change or has links the hash of changes (see change.lua). Then, if the item names the rights of
--       the room, the two keys of these (see rights.lua), and if it changes them the members of the room (zset).
-- ARGV: max messages, max age in ms, max bytes, dedupe window in ms, number of the current window (empty: by the clock of
--       Redis), 1 if the memory for messages is used up, max messages and max bytes in the first of two logs while its user
--       has never connected, 1 if a node of an earlier version runs, the command that publishes; then the items, one after
--       the other: number of logs, hash of the dedupe key (empty: nothing repeats the message), the dedupe key, message id,
--       sent_at, the terms, body, then for each log its channel and the epoch for a new log. The terms are the sum of: 1 if
--       the limits of the first of two logs apply; 2 if only a repeat is answered, and nothing new is stored; 4 if this is the
--       first of two logs, and another call writes the second; 8 if it is that second log, which gets the message as it is; 16 if
--       the item is a change of an earlier message, which seven more arguments describe: id of that message, how its body has to
--       begin (one of several texts, with newlines between them; empty: in any way), its maximum age in ms (empty: any), kind (E edit, R retraction, + and - reaction), value (text, tombstone, reaction),
--       extra (of an edit the id that has to be the last one, or empty; of a reaction its user), of an edit the most bytes of the
--       message with the new text; 32 if it is a message with links,
--       which two more arguments list: the ids of the messages that it answers, and the users that it mentions, with newlines
--       between them; 64 if it names the rights of the room, with two more arguments: who asks (see rights.lua), and the author of a
--       message that a moderator takes back (empty otherwise); 128 if it is an entry about these rights, which six more arguments
--       describe: room, the action, or note for one that is about no room; the other user (of a room: the owner of a new one), and then of
--       a room kind, topic with a t before it, and slow mode, of an action the role, when it ends in Unix ms (empty: never), and nothing.
-- Returns for each item an error, or the text `<epoch> <seq> <message id> <sent_at> <duplicate> <begun>`: of the last log, 1 if
-- all logs already held the message, and the number of logs that were empty before. For the first of two calls, a newline and the
-- body follow, if it is not the one that was given. A text that begins with `!` says why nothing was stored: notfound, author, gone,
-- late, large, many, `conflict <id>` with a newline and the present text, `unchanged <epoch>`, and what rights.lua says; or rights: the
-- room has rights, and the item has to name them.

local HEADER = 10
local call, pack, unpack_state = redis.call, cmsgpack.pack, cmsgpack.unpack
local max_messages, max_age, max_bytes, window = ARGV[1] + 0, ARGV[2] + 0, ARGV[3] + 0, ARGV[4] + 0
local window_number = tonumber(ARGV[5]) or math.floor(now / window)
local is_full, has_older_nodes, publish_command = ARGV[6] == '1', ARGV[9] == '1', ARGV[10]
-- Entries are deleted in blocks, so a log may have a few more than it may hold, by count and age; no node hands these out.
-- The limit of bytes is exact.
local block = block_of(max_messages)
local max_count = block == 1 and max_messages or max_messages + 2 * block
local oldest_at = now - max_age - math.floor(max_age / 16)
-- Whether the item in hand has written anything.
local has_written = false

-- Returns the next seq of a log, and the start of the record of a message there.
local function next_record(log, id)
  local seq = string.format('%d', log[SEQ] + 1)
  return seq, log[EPOCH] .. ' ' .. seq .. ' ' .. id .. ' '
end

-- Appends a message, a change, or an entry about rights to a log and publishes it. Entries before `min_id`, if there is one, are deleted. Returns an
-- error if nothing was written.
local function append(log, key, seq, start, id, body, channel, min_id, is_change)
  local prev, bytes, at, added = log[ID], log[BYTES] + #body, log[AT], nil
  -- Never earlier than the previous entry, so that expired entries are always the oldest ones.
  if at < now then at = now end
  local at_text = string.format('%d', at)
  if min_id then
    added = redis.pcall('XADD', KEYS[key + 1], 'MINID', min_id, seq .. '-0', 'i', id, 'p', prev, 't', at_text, 'b', body)
  else
    added = redis.pcall('XADD', KEYS[key + 1], seq .. '-0', 'i', id, 'p', prev, 't', at_text, 'b', body)
  end
  if type(added) == 'table' then
    -- The stream has had an entry beyond the newest message of the log.
    local is_foreign = string.find(added.err, 'equal or smaller', 1, true)
    return is_foreign and { err = 'BADLOG ' .. KEYS[key + 1] .. ' has an invalid entry' } or added
  end
  has_written = true
  local messages, changes = log[MESSAGES], log[CHANGES]
  if messages and is_change then changes = changes + 1 elseif messages then messages = messages + 1 end
  call('HSET', KEYS[key], 'z', pack(seq, log[EPOCH], id, bytes, log[FIRST], log[FIRST_AT], at, log[WINDOW],
    log[HAS_PREVIOUS], log[HASH_ENDS], log[OLDER_WINDOW], log[EXTEND_AT], messages, changes), 's', log.has_rights and RIGHTS .. seq or seq,
    'b', string.format('%d', bytes), 'i', id, 'a', at_text)
  call(publish_command, channel, 'M ' .. start .. (prev == '' and '-' or prev) .. ' ' .. at_text .. '\n' .. body)
end

-- Reads the state of a log. Returns nothing if the log, or the message for it, is not ordinary.
local function read_ordinary(key, id, size, field, found)
  if not found[1] or found[4] then return end
  local log = { unpack_state(found[1]) }
  local seq, first = log[SEQ], log[FIRST]
  if seq ~= found[2] then
    log.has_rights = found[2] == RIGHTS .. seq
    if not log.has_rights then return end
  end
  if first ~= found[3] or log[ID] >= id then return end
  local held = log[MESSAGES] or seq - first + 1
  if seq - first < 0 or held + 1 > max_count or seq % block == 0 or seq + 0 >= MAX_INT or log[AT] > MAX_INT
    or log[FIRST_AT] > log[AT] or log[BYTES] < 0 or log[BYTES] + size > max_bytes or log[FIRST_AT] <= oldest_at
    or now >= log[EXTEND_AT] then
    return
  end
  if not field then return log end
  if log[WINDOW] ~= window_number or now >= log[HASH_ENDS] or log[OLDER_WINDOW] >= window_number - 1 then return end
  if log[HAS_PREVIOUS] == 1 and call('HEXISTS', KEYS[key + 2 + (window_number + 1) % 2], field) == 1 then return end
  return log
end

-- Handles an item whose arguments begin at `at`, and its keys at `key`. Returns nothing if it is not ordinary.
local function append_ordinary(at, key)
  local terms = ARGV[at + 5]
  local names_rights = terms == '64' or terms == '65'
  if terms == '2' or terms == '6' or #terms > 1 and not names_rights then return end
  local id, sent_at, body, field, hash = ARGV[at + 3], ARGV[at + 4], ARGV[at + 6], nil, nil
  local other_key = key + 2
  if ARGV[at + 1] ~= '' then field, other_key, hash = 'h' .. ARGV[at + 1], key + 4, 2 + window_number % 2 end
  local found = (terms == '1' or terms == '5') and call('HMGET', KEYS[key], 'z', 's', 'f', 'n')
    or call('HMGET', KEYS[key], 'z', 's', 'f')
  if ARGV[at] == '1' then
    local log = read_ordinary(key, id, #body, field, found)
    if not log then return end
    local rights
    -- The second log of a private message is that of its sender, whom nothing keeps from it.
    if log.has_rights and terms ~= '8' then
      if not names_rights then return '!rights' end
      rights = rights_function('read')(KEYS[other_key], ARGV[at + 9], '')
      -- It may be a repeat, which is answered all the same.
      if rights_function('refuse_writing')(rights, 'w', KEYS[other_key + 1]) then return end
    end
    local seq, start = next_record(log, id)
    -- This is also the look for a repeat.
    if field and call('HSETNX', KEYS[key + hash], field, start .. sent_at) == 0 then return end
    local failed = append(log, key, seq, start, id, body, ARGV[at + 7])
    if failed and field then call('HDEL', KEYS[key + hash], field) end
    if rights and not failed then rights_function('note_message')(rights, KEYS[other_key + 1]) end
    return failed or start .. sent_at .. ' 0 0'
  end
  local log = not names_rights and read_ordinary(key, id, #body, field, found)
  if log and log.has_rights then return '!rights' end
  local own = log and read_ordinary(other_key, id, #body, field, call('HMGET', KEYS[other_key], 'z', 's', 'f'))
  if not own then return end
  local seq, start = next_record(log, id)
  local own_seq, own_start = next_record(own, id)
  if field then
    if call('HSETNX', KEYS[key + hash], field, start .. sent_at) == 0 then return end
    if call('HSETNX', KEYS[other_key + hash], field, own_start .. sent_at) == 0 then
      call('HDEL', KEYS[key + hash], field)
      return
    end
  end
  local failed = append(log, key, seq, start, id, body, ARGV[at + 7])
  if failed and field then call('HDEL', KEYS[key + hash], field) end
  failed = failed or append(own, other_key, own_seq, own_start, id, body, ARGV[at + 9])
  if failed and field then call('HDEL', KEYS[other_key + hash], field) end
  return failed or own_start .. sent_at .. ' 0 0'
end

local replies, at, key = {}, HEADER + 1, 1

-- Notes the reply to the item in hand, and goes on to the next one. If it was not done, the reply is what was raised: a text
-- or a table.
local function reply_with(is_done, reply)
  if not is_done and type(reply) == 'string' then
    reply = { err = string.find(reply, '^%u+ ') and reply or 'ERR ' .. reply }
  end
  replies[#replies + 1] = reply
  local logs, terms = ARGV[at] + 0, ARGV[at + 5] + 0
  local rights_keys, rights_arguments = 0, 0
  if terms >= 128 then
    rights_keys, rights_arguments, terms = 3, 8, terms - 192
  elseif terms >= 64 then
    rights_keys, rights_arguments, terms = 2, 2, terms - 64
  end
  key = key + logs * ((ARGV[at + 1] == '' and 2 or 4) + (terms >= 16 and 1 or 0)) + rights_keys
  at = at + 7 + 2 * logs + (terms >= 32 and 2 or terms >= 16 and 7 or 0) + rights_arguments
end

-- Handles the item in hand, and goes on. Returns nothing if it is not ordinary.
local function append_next()
  if is_full or has_older_nodes then return end
  has_written = false
  local is_done, reply = pcall(append_ordinary, at, key)
  if not (has_written or is_done and reply) then return end
  reply_with(is_done, reply)
  return true
end

while ARGV[at] and append_next() do end
if not ARGV[at] then return replies end
