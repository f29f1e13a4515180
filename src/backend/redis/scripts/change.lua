-- Changes of earlier messages: edits, retractions and reactions. This text follows log.lua and precedes publish.lua, which
-- appends the entry of a change like that of a message.
--
-- One hash for each log holds what the changes of its messages come to. Fields, each followed by a space and the epoch of
-- the log:
--   e<seq>   the edits of the message: the id of the last one, its text, then the seq of each of them, packed
--   r<seq>   its reactions: for each one the reaction and its users, packed
--   a<seq>   the messages that answer it: the seq of each, packed
--   m<user>  the messages that mention the user: the seq of each, packed
--   t<seq>   what stands in the place of an erased entry: message id, id of the previous entry, time, body, 1 if it was a
--            message and not an edit, packed
--   i<id>    the seq of an erased message
--   q        the seq of each erased message, packed
-- and without an epoch:
--   b       bytes of all other fields
--   c       the cursor of the search for fields whose message is no longer held
--   f       the oldest seq of the log when this search began: as long as it is the same, there is nothing to find
-- A field goes when the search finds it. The whole hash expires when all messages that it is about have.

local MAX_EDITS, MAX_REACTIONS, MAX_REACTIONS_OF_ALL = 100, 20, 1000
-- More answers to one message, and more messages that mention one user, are not counted.
local MAX_ANSWERS, MAX_MENTIONS = 1000, 100

-- Finds the entry of a message: the ids of a log sort by seq. Returns its seq and fields, or nothing.
local function find_entry(log, id)
  local low, high = log[FIRST] + 0, log[SEQ] + 0
  while low <= high do
    local middle = math.floor((low + high) / 2)
    local entry = redis.call('XRANGE', log.stream, int(middle) .. '-0', int(high) .. '-0', 'COUNT', 1)[1]
    if not entry then
      high = middle - 1
    else
      local seq = parse(log.stream, 'id', string.match(entry[1], '^(%d+)-0$'))
      local fields = entry[2]
      if not fields[8] then fail(log.stream, 'entry') end
      if fields[2] == id then return seq, fields end
      if fields[2] < id then low = seq + 1 else high = middle - 1 end
    end
  end
end

-- Returns the new reactions of a message, or nothing and why not.
local function react(reactions, reaction, user, is_on)
  local of_user, of_all, at, place = 0, 0, nil, nil
  for i, users in ipairs(reactions) do
    of_all = of_all + #users - 1
    for j = 2, #users do
      if users[j] == user then
        of_user = of_user + 1
        if users[1] == reaction then place = j end
      end
    end
    if users[1] == reaction then at = i end
  end
  if is_on == (place ~= nil) then return nil, '!unchanged' end
  if not is_on then
    table.remove(reactions[at], place)
    if #reactions[at] == 1 then table.remove(reactions, at) end
    return reactions
  end
  if of_user >= MAX_REACTIONS or of_all >= MAX_REACTIONS_OF_ALL or not at and #reactions >= MAX_REACTIONS then
    return nil, '!many'
  end
  if not at then
    at = #reactions + 1
    reactions[at] = { reaction }
  end
  table.insert(reactions[at], user)
  return reactions
end

-- Returns the fields of the messages that these ids name, and of these users. No message answers a change.
local function link_fields(log, ids, users)
  local fields, has = {}, {}
  local function add(field)
    if not has[field] then fields[#fields + 1], has[field] = field, true end
  end
  for _, id in ipairs(ids) do
    local seq, entry = find_entry(log, id)
    if seq and not is_change_body(entry[8]) then add(change_field(log, 'a', int(seq))) end
  end
  for _, user in ipairs(users) do add(change_field(log, 'm', user)) end
  return fields
end

-- Reads the fields which a message with links has to be added to. Returns nothing if there are none, or if the hash has no space
-- left: then it is not counted.
local function read_links(log, answered, mentioned, max_fold_bytes)
  local ids, users, links = {}, {}, { writes = {} }
  for id in string.gmatch(answered, '[^\n]+') do ids[#ids + 1] = id end
  for user in string.gmatch(mentioned, '[^\n]+') do users[#users + 1] = user end
  local fields = link_fields(log, ids, users)
  if #fields == 0 then return end
  local found = redis.call('HMGET', log.change_key, 'b', unpack(fields))
  links.bytes = parse(log.change_key, 'b', found[1] or '0')
  for i, field in ipairs(fields) do
    local list = unpack_field(log.change_key, field, found[i + 1]) or {}
    if #list >= (string.sub(field, 1, 1) == 'a' and MAX_ANSWERS or MAX_MENTIONS) then table.remove(list, 1) end
    list[#list + 1] = log[SEQ] + 1
    local packed = cmsgpack.pack(list)
    links.writes[2 * i - 1], links.writes[2 * i] = field, packed
    links.bytes = links.bytes + #packed - (found[i + 1] and #found[i + 1] or -#field)
  end
  if links.bytes <= max_fold_bytes then return links end
end

-- Writes fields of the hash. With them, all its fields but those without an epoch take so many bytes.
local function write_changes(log, ttl, bytes, ...)
  redis.call('HSET', log.change_key, 'b', int(math.max(0, bytes)), ...)
  redis.call('PEXPIRE', log.change_key, int(ttl))
  if not log.has_changes then redis.call('HSET', log.meta, 'x', 1) end
end

-- Adds the message that was just appended to the fields that `read_links` read.
local function apply_links(log, ttl)
  write_changes(log, ttl, log.links.bytes, unpack(log.links.writes))
end

-- Reads what is to be taken out of the fields of links, because the message `seq` with this body is erased. Returns fields and
-- their new values, those that are empty afterwards, and the bytes that are free then.
local function read_unlinks(log, key, seq, body)
  local writes, empty, bytes = {}, {}, 0
  local is_json, message = pcall(cjson.decode, '{' .. body .. '}')
  if not is_json then return writes, empty, bytes end
  local ids = {}
  for _, name in ipairs({ 'reply_to', 'thread' }) do
    if type(message[name]) == 'string' and message[name] ~= ids[1] then ids[#ids + 1] = message[name] end
  end
  local fields = link_fields(log, ids, type(message.mentions) == 'table' and message.mentions or {})
  -- Those that were erased since.
  for _, id in ipairs(ids) do
    local place = redis.call('HGET', key, change_field(log, 'i', id))
    if place then fields[#fields + 1] = change_field(log, 'a', place) end
  end
  local found = #fields > 0 and redis.call('HMGET', key, unpack(fields)) or {}
  for i, field in ipairs(fields) do
    local list, left = unpack_field(key, field, found[i]) or {}, {}
    for _, linked in ipairs(list) do
      if linked ~= seq then left[#left + 1] = linked end
    end
    if #left > 0 and #left < #list then
      writes[#writes + 1], writes[#writes + 2] = field, cmsgpack.pack(left)
      bytes = bytes + #found[i] - #writes[#writes]
    elseif #left < #list then
      empty[#empty + 1], bytes = field, bytes + #field + #found[i]
    end
  end
  return writes, empty, bytes
end

-- Whether no message needs a field of the hash any longer.
local function is_stale(log, key, field, value)
  local kind, rest, epoch = string.match(field, '^(%a)(.*) (%x+)$')
  if not kind or kind == 'q' and epoch == log[EPOCH] then return false end
  if epoch ~= log[EPOCH] then return true end
  local seq = tonumber(kind == 'i' and value or rest)
  if kind == 'm' then
    local list = unpack_field(key, field, value)
    seq = list[#list]
  end
  return seq and seq < log[FIRST] + 0
end

-- Reads what a change is about in one log, and the fields that no message needs any longer. Writes nothing.
local function read_change(log, change)
  local found = {}
  found.seq, found.fields = find_entry(log, change.target)
  local place = int(found.seq or 0)
  local edits_field, reactions_field = change_field(log, 'e', place), change_field(log, 'r', place)
  local state = redis.call('HMGET', log.change_key, 'b', 'c', edits_field, reactions_field, 'f')
  found.bytes, found.cursor = parse(log.change_key, 'b', state[1] or '0'), state[2] or '0'
  -- What each of the two fields takes, as `set` counts it.
  found.edit_bytes = state[3] and #edits_field + #state[3] or 0
  found.reaction_bytes = state[4] and #reactions_field + #state[4] or 0
  found.edits = unpack_field(log.change_key, edits_field, state[3])
  local reactions = unpack_field(log.change_key, reactions_field, state[4]) or {}
  if change.kind == '+' or change.kind == '-' then
    found.reactions, found.why_not = react(reactions, change.value, change.extra, change.kind == '+')
  end
  found.is_gone = not found.seq and redis.call('HEXISTS', log.change_key, change_field(log, 'i', change.target)) == 1
  found.stale = {}
  -- A small hash comes as a whole, whatever the count: not with each change.
  local scan = { found.cursor, {} }
  found.searched = state[5] or log[FIRST]
  if found.cursor ~= '0' or found.searched ~= log[FIRST] then
    if found.cursor == '0' then found.searched = log[FIRST] end
    scan = redis.call('HSCAN', log.change_key, found.cursor, 'COUNT', 16)
  end
  found.cursor = scan[1]
  for i = 1, #scan[2], 2 do
    local field, value = scan[2][i], scan[2][i + 1]
    if is_stale(log, log.change_key, field, value) then
      found.stale[#found.stale + 1] = field
      found.bytes = math.max(0, found.bytes - #field - #value)
    end
  end
  -- What a retraction erases.
  if found.seq and change.kind == 'R' then
    local field = change_field(log, 'q', '')
    local erased = redis.call('HGET', log.change_key, field)
    found.places = unpack_field(log.change_key, field, erased) or {}
    found.places_bytes = erased and #field + #erased or 0
    found.unlinks, found.unlinked, found.unlinked_bytes = read_unlinks(log, log.change_key, found.seq, found.fields[8])
    found.erased = { { found.seq, found.fields } }
    for i = 3, #(found.edits or {}) do
      local id = int(found.edits[i]) .. '-0'
      local entry = redis.call('XRANGE', log.stream, id, id)[1]
      if entry then found.erased[#found.erased + 1] = { found.edits[i], entry[2] } end
    end
  end
  return found
end

-- The bytes of a message with another text in the place of its own: at most, since what JSON escapes in the old one is not counted.
local function bytes_with(body, text)
  local is_json, message = pcall(cjson.decode, '{' .. body .. '}')
  local content = is_json and message.content
  return #body + #text - (type(content) == 'string' and #content or 0)
end

-- Decides whether a change is accepted. Returns why not, or nothing.
local function refuse_change(log, change, max_fold_bytes)
  local found = log.change
  if found.is_gone then return '!gone' end
  local body = found.seq and found.fields[8]
  if not body or is_change_body(body) then return '!notfound' end
  local fits = change.author == ''
  for start in string.gmatch(change.author, '[^\n]+') do fits = fits or string.sub(body, 1, #start) == start end
  -- A reaction may be to the message of any user, but of this conversation.
  if not fits then return (change.kind == 'E' or change.kind == 'R') and '!author' or '!notfound' end
  if change.window and parse(log.stream, 't', found.fields[6]) + change.window < now then return '!late' end
  if change.kind == 'E' then
    local version = found.edits and found.edits[1] or change.target
    if change.extra ~= '' and change.extra ~= version then
      return '!conflict ' .. version .. '\n' .. (found.edits and found.edits[2] or body)
    end
    if found.edits and #found.edits - 2 >= MAX_EDITS then return '!many' end
    local is_close = #body + #change.value > change.max_bytes
    if is_close and bytes_with(body, change.value) > change.max_bytes then return '!large' end
  elseif change.kind ~= 'R' then
    if found.why_not == '!unchanged' then return '!unchanged ' .. log[EPOCH] end
    if found.why_not then return found.why_not end
  end
  if change.kind ~= 'R' and found.bytes + #change.value > max_fold_bytes then return '!many' end
end

-- Applies a change whose entry was appended as `seq`, with this id.
local function apply_change(log, change, id, seq, ttl)
  local found, writes = log.change, {}
  local bytes = found.bytes
  local function set(kind, of, value)
    local field = change_field(log, kind, of)
    writes[#writes + 1], writes[#writes + 2] = field, value
    bytes = bytes + #field + #value
  end
  local place = found.seq and int(found.seq)
  if not place or found.seq < log[FIRST] + 0 then
    -- This log does not hold the message: the entry alone tells of the change.
    place = nil
  elseif change.kind == 'E' then
    local edits = found.edits or { '', '' }
    -- The two logs of a private message may get edits in different orders: the highest id counts in both.
    if edits[1] < id then edits[1], edits[2] = id, change.value end
    edits[#edits + 1] = tonumber(seq)
    bytes = bytes - found.edit_bytes
    set('e', place, cmsgpack.pack(edits))
  elseif change.kind == 'R' then
    local places = { found.seq }
    for _, seq in ipairs(found.places) do
      if seq >= log[FIRST] + 0 then places[#places + 1] = seq end
    end
    table.sort(places)
    bytes = bytes - found.edit_bytes - found.reaction_bytes - found.places_bytes - found.unlinked_bytes
    set('q', '', cmsgpack.pack(places))
    set('i', change.target, place)
    for _, value in ipairs(found.unlinks) do writes[#writes + 1] = value end
    for _, field in ipairs(found.unlinked) do found.stale[#found.stale + 1] = field end
    for _, kind in ipairs({ 'e', 'r' }) do found.stale[#found.stale + 1] = change_field(log, kind, place) end
  else
    -- Nothing, if the reactions of this log are as wanted, unlike those of the log that decided.
    if found.reactions then bytes = bytes - found.reaction_bytes end
    if found.reactions and #found.reactions > 0 then
      set('r', place, cmsgpack.pack(found.reactions))
    elseif found.reactions then
      found.stale[#found.stale + 1] = change_field(log, 'r', place)
    end
  end
  for i, entry in ipairs(found.erased or {}) do
    local erased, fields = entry[1], entry[2]
    if erased >= log[FIRST] + 0 then
      local body = with_id(change.value, change.target, fields[2])
      set('t', int(erased), cmsgpack.pack({ fields[2], fields[4], fields[6], body, i == 1 and 1 or 0 }))
    end
  end
  write_changes(log, ttl, bytes, 'c', found.cursor, 'f', found.searched, unpack(writes))
  if #found.stale > 0 then redis.call('HDEL', log.change_key, unpack(found.stale)) end
  for _, entry in ipairs(found.erased or {}) do redis.call('XDEL', log.stream, int(entry[1]) .. '-0') end
end
