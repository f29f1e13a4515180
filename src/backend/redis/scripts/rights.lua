-- Rights of a room: who may enter it and write there. This text follows state.lua and precedes append.lua and publish.lua. The rules are
-- those of the embedded store (backend/memory/rights.rs).
--
-- A room without rights has no such keys, and costs nothing more. The field s of the meta of a room with rights begins with R: so an
-- item that does not name the keys is sent back, and a node of a version that knows no rights takes the log for invalid, whatever it
-- is asked for. The keys, and the meta, never expire.
--
-- Rights (hash): k kind (open, private, announce), t topic, s slow mode in ms, o number of owners, n number of users, e when ended
--         bans were last looked for (Unix ms), and for each user u<name>: role (o owner, m moderator, b member, i invited, - none),
--         then when a ban ends, and when a mute does (Unix ms; 0: there is none).
-- Slow (zset): in a room with slow mode, when each user has sent the last message.

-- Made only for an item that needs them: a call makes each function anew, and most messages need none of these.
local rights_functions

local function make_rights_functions()
  local RANKS = { o = 3, m = 2, b = 1, i = 0, ['-'] = 0 }
  local MAX_USERS = 10000

  local function parse_user(key, text)
    local role, banned, muted = string.match(text or '- 0 0', '^([ombi%-]) (%d+) (%d+)$')
    if not role then error({ err = 'BADLOG ' .. key .. ' has an invalid user' }) end
    return { role = role, rank = RANKS[role], banned = banned + 0, muted = muted + 0, is_known = text }
  end

  -- Reads what decides about an item: of the room, of the user that asks, and of another one. `asker` is a letter and the name: p, g
  -- if the token of the user grants it to write in the room, or x if nobody has proved the name; then it has no role. It is empty for
  -- the server API, which stands above all roles.
  local function read_rights(key, asker, other)
    local found = redis.call('HMGET', key, 'k', 's', 'u' .. string.sub(asker, 2), 'u' .. other, 'o', 'n', 't')
    local rights = { key = key, kind = found[1], slow = found[2], owners = found[5], count = found[6], topic = found[7] }
    rights.is_server, rights.name = asker == '', string.sub(asker, 2)
    rights.is_granted = string.sub(asker, 1, 1) == 'g'
    rights.asker, rights.other = parse_user(key, not rights.is_server and found[3]), parse_user(key, found[4])
    if string.sub(asker, 1, 1) == 'x' then rights.asker.role, rights.asker.rank = '-', 0 end
    rights.rank = rights.is_server and 4 or rights.asker.rank
    return rights
  end

  -- Why the user that asks may not write what it wants to, or nothing. `act`: w a message, c an edit or a reaction, r the retraction
  -- of an own message, m that of a message of the other user.
  local function refuse_writing(rights, act, slow_key)
    if rights.is_server then return end
    local asker = rights.asker
    if asker.banned > now then return '!banned ' .. int(asker.banned) end
    if rights.kind == 'private' and asker.rank == 0 and not rights.is_granted then return '!norole' end
    if act == 'r' then return end
    if act == 'm' then
      if asker.rank < 2 or asker.rank <= rights.other.rank then return '!rank' end
      return
    end
    if asker.muted > now then return '!muted ' .. int(asker.muted) end
    if act == 'c' then return end
    if rights.kind == 'announce' and asker.rank < 2 and not rights.is_granted then return '!readonly' end
    local slow = tonumber(rights.slow or '0')
    if slow > 0 and asker.rank < 2 then
      local last = tonumber(redis.call('ZSCORE', slow_key, rights.name) or '-inf')
      -- A clock that was set back makes nobody wait for longer.
      if last <= now and now < last + slow then return '!slow ' .. int(last + slow - now) end
      rights.slowed = slow
    end
  end

  -- Notes when a user has sent a message, in a room with slow mode.
  local function note_message(rights, slow_key)
    if not rights or not rights.slowed then return end
    redis.call('ZADD', slow_key, int(now), rights.name)
    redis.call('ZREMRANGEBYSCORE', slow_key, '-inf', '(' .. int(math.max(0, now - rights.slowed)))
    redis.call('PEXPIRE', slow_key, int(rights.slowed + 1000))
  end

  -- Forgets the users of whom only ended bans and mutes are kept. Returns how many. That reads all users: at most once a minute.
  local function forget_ended(rights, count)
    local last = tonumber(redis.call('HGET', rights.key, 'e') or '-inf')
    if last <= now and now < last + 60000 then return 0 end
    local all, ended = redis.call('HGETALL', rights.key), {}
    for i = 1, #all, 2 do
      local user = string.sub(all[i], 1, 1) == 'u' and parse_user(rights.key, all[i + 1])
      if user and user.role == '-' and user.banned <= now and user.muted <= now then table.insert(ended, all[i]) end
    end
    for first = 1, #ended, 1000 do
      redis.call('HDEL', rights.key, unpack(ended, first, math.min(first + 999, #ended)))
    end
    redis.call('HSET', rights.key, 'e', int(now), 'n', int(count - #ended))
    return #ended
  end

  -- Notes a new state of the other user. Returns why not, or nothing.
  local function plan_user(rights, role, banned, muted)
    local other, owners = rights.other, tonumber(rights.owners or '0')
    if other.role == 'o' then owners = owners - 1 end
    if role == 'o' then owners = owners + 1 end
    local count = tonumber(rights.count or '0')
    local is_kept = role ~= '-' or banned > now or muted > now
    if is_kept and not other.is_known then
      if count >= MAX_USERS then count = count - forget_ended(rights, count) end
      if count >= MAX_USERS then return '!users' end
      count = count + 1
    end
    if not is_kept and other.is_known then count = count - 1 end
    rights.writes = { 'k', rights.kind or 'open', 'o', int(owners), 'n', int(count) }
    if is_kept then
      table.insert(rights.writes, 'u' .. rights.target)
      table.insert(rights.writes, role .. ' ' .. int(banned) .. ' ' .. int(muted))
    else
      rights.gone = 'u' .. rights.target
    end
  end

  -- Decides about making or changing a room: its kind, topic (with a t before it), slow mode and owner; empty what stays. Returns why
  -- not, or nothing.
  local function plan_room(rights, is_empty, kind, topic, slow, owner)
    if rights.kind then
      local needed = kind ~= '' and 3 or 2
      if not rights.is_server and rights.asker.banned > now then return '!banned ' .. int(rights.asker.banned) end
      if rights.rank < needed then return '!rank' end
      if owner ~= '' and rights.other.role ~= 'o' then return '!exists' end
    else
      if not rights.is_server and not is_empty then return '!exists' end
      if kind == '' then return '!kind' end
    end
    local writes = { 'k', kind ~= '' and kind or rights.kind }
    local is_other = writes[2] ~= rights.kind
    if topic ~= '' then
      is_other = is_other or string.sub(topic, 2) ~= (rights.topic or '')
      writes[3], writes[4] = 't', string.sub(topic, 2)
    end
    if slow ~= '' then
      is_other = is_other or slow ~= (rights.slow or '0')
      table.insert(writes, 's')
      table.insert(writes, slow)
    end
    if not is_other then return '!unchanged' end
    if not rights.kind then
      for _, value in ipairs({ 'o', owner ~= '' and 1 or 0, 'n', owner ~= '' and 1 or 0 }) do table.insert(writes, value) end
      if owner ~= '' then
        table.insert(writes, 'u' .. owner)
        table.insert(writes, 'o 0 0')
      end
    end
    rights.writes = writes
  end

  -- Decides about an action on the other user. Returns why not, or nothing.
  local function plan_action(rights, action, role, until_)
    local other, rank = rights.other, rights.rank
    local is_self = not rights.is_server and rights.name == rights.target
    if not rights.kind and not rights.is_server then return '!norights' end
    if not rights.is_server and rights.asker.banned > now then return '!banned ' .. int(rights.asker.banned) end
    if action == 'accept' then
      if other.role ~= 'i' then return '!unchanged' end
      return plan_user(rights, 'b', other.banned, other.muted)
    end
    if is_self and action ~= 'remove' then return '!rank' end
    if not is_self and (rank < 2 or rank <= other.rank) then return '!rank' end
    local is_banned = other.banned > now
    if action == 'role' or action == 'invite' then
      if is_banned then return '!targetbanned' end
      if action == 'invite' and other.role ~= '-' or role == other.role then return '!unchanged' end
      if RANKS[role] >= rank and not (role == 'o' and rank == 3) then return '!rank' end
      return plan_user(rights, role, 0, other.muted)
    elseif action == 'kick' then
      rights.writes = { 'k', rights.kind or 'open' }
    elseif action == 'remove' then
      if is_self and other.role == '-' then return '!unchanged' end
      if is_self and other.role == 'o' and tonumber(rights.owners or '0') <= 1 then return '!lastowner' end
      return plan_user(rights, '-', other.banned, other.muted)
    elseif action == 'ban' then
      if until_ <= now then return '!past' end
      if other.role == '-' and other.banned == until_ then return '!unchanged' end
      return plan_user(rights, '-', until_, other.muted)
    elseif action == 'unban' then
      if not is_banned then return '!unchanged' end
      return plan_user(rights, other.role, 0, other.muted)
    elseif action == 'mute' then
      if until_ <= now then return '!past' end
      if other.muted == until_ then return '!unchanged' end
      return plan_user(rights, other.role, other.banned, until_)
    else
      if other.muted <= now then return '!unchanged' end
      return plan_user(rights, other.role, other.banned, 0)
    end
  end

  -- Writes what was decided. The entry of it was appended.
  local function apply_rights(rights, log)
    redis.call('HSET', rights.key, unpack(rights.writes))
    if rights.gone then redis.call('HDEL', rights.key, rights.gone) end
    redis.call('PERSIST', log.meta)
  end

  return { read = read_rights, refuse_writing = refuse_writing, note_message = note_message, plan_room = plan_room,
    plan_action = plan_action, apply = apply_rights }
end

local function rights_function(name)
  rights_functions = rights_functions or make_rights_functions()
  return rights_functions[name]
end
