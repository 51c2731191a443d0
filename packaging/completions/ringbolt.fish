# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_ringbolt_global_optspecs
    string join \n t/test c/config= h/help V/version
end

function __fish_ringbolt_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_ringbolt_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_ringbolt_using_subcommand
    set -l cmd (__fish_ringbolt_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c ringbolt -n "__fish_ringbolt_needs_command" -s c -l config -d 'The configuration file for -t' -r -F
complete -c ringbolt -n "__fish_ringbolt_needs_command" -s t -l test -d 'Check the configuration and exit, as `ringbolt check` does'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -s V -l version -d 'Print version'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "run" -d 'Serve, with a configuration file or with the addresses given here'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "check" -d 'Read a configuration file, report everything that is wrong with it, and exit'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "reload" -d 'Make the running process serve by its configuration file as it is now'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "upgrade" -d 'Make the running process start the program that is now at its path and hand everything over to it'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "status" -d 'Print what the running process is doing'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "backends" -d 'Print the backends of the running process and how they stand'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "session" -d 'Print which backend has a session'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "sessions" -d 'Print the living sessions whose sids are known, with the number of each backend before them'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "drain" -d 'Give a backend no new sessions; it keeps its own'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "maintenance" -d 'Give a backend nothing at all; open tunnels go on'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "enable" -d 'Give a backend new sessions again'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "weight" -d 'Change a backend\'s weight'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "add" -d 'Add a backend to an upstream'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "remove" -d 'Take a backend out of its upstream: its tunnels go on, its sessions are unknown'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "reset" -d 'Forget what was ordered about a backend: what the file says holds again'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "config" -d 'Print the configuration in effect or how it differs from its file, or write that into the file'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "top" -d 'Show in the terminal what the running process does, renewed every second'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "plan" -d 'Print what a number of tunnels takes, and whether this machine gives it'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "tune" -d 'Print the kernel\'s settings beside what a number of tunnels takes, set them, or take that back'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "import" -d 'Translate the configuration of nginx, HAProxy or stunnel, and say what is missing'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "doctor" -d 'Play a client of a service through whatever stands in front of it, and say what is wrong'
complete -c ringbolt -n "__fish_ringbolt_needs_command" -f -a "version" -d 'Print version, architecture and engines'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand run" -s c -l config -d 'The configuration file' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand run" -l listen -d 'Listen here; may be repeated; port 0: any free port' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand run" -l backend -d 'Send requests here; may be repeated' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand run" -l affinity -d 'What binds a session to its backend: engine-io (default), client-ip, header:NAME, cookie:NAME, none' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand run" -l engine -d 'How workers learn that a socket is ready: uring, epoll, or auto (default): io_uring, or epoll where the kernel refuses it' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand run" -l workers -d 'Worker threads (default: one for each core)' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand run" -l admin -d 'Address of metrics and health, or off (default: 127.0.0.1:9180)' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand run" -l log-format -d 'Form of log lines: text (default), json' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand run" -l log-level -d 'Least important events to log: error, warn, info (default), debug, trace' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand run" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand check" -s c -l config -d 'The configuration file' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand check" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand reload" -l socket -d 'The process\' admin.socket' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand reload" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand upgrade" -l socket -d 'The process\' admin.socket' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand upgrade" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand status" -l socket -d 'The process\' admin.socket' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand status" -l json -d 'Print JSON for programs'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand status" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand backends" -l socket -d 'The process\' admin.socket' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand backends" -l json -d 'Print JSON for programs'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand backends" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand session" -l socket -d 'The process\' admin.socket' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand session" -l json -d 'Print JSON for programs'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand session" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand sessions" -l backend -d 'Only those of this backend: its name, or UPSTREAM/NAME' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand sessions" -l limit -d 'Print at most this many sessions (default: 100), up to 10000' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand sessions" -l socket -d 'The process\' admin.socket' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand sessions" -l json -d 'Print JSON for programs'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand sessions" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand drain" -l socket -d 'The process\' admin.socket' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand drain" -l over -d 'Close its tunnels and polling sessions evenly over this time, such as 10m' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand drain" -l rate -d 'Close at most this many of them a second' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand drain" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand maintenance" -l socket -d 'The process\' admin.socket' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand maintenance" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand enable" -l socket -d 'The process\' admin.socket' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand enable" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand weight" -l socket -d 'The process\' admin.socket' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand weight" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand add" -l name -d 'By default the address' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand add" -l weight -d 'From 1 to 1000' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand add" -l maxconn -d 'Requests and tunnels at once' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand add" -l socket -d 'The process\' admin.socket' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand add" -l backup -d 'It gets new sessions only while no other backend can'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand add" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand remove" -l socket -d 'The process\' admin.socket' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand remove" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand reset" -l socket -d 'The process\' admin.socket' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand reset" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand config" -l socket -d 'The process\' admin.socket' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand config" -l dump -d 'Print a file that means what is in effect: the file as it was loaded, with what was ordered in it'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand config" -l diff -d 'Print what was ordered that the file does not say'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand config" -l write -d 'Write what was ordered into the file, which must be as it was loaded'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand config" -l json -d 'With --diff: print JSON for programs'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand config" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand top" -l socket -d 'The process\' admin.socket' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand top" -l address -d 'Ask admin.address instead of the socket' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand top" -l once -d 'Print one frame as text and exit'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand top" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand plan" -l tunnels -d 'Tunnels open at the same time' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand plan" -s c -l config -d 'Take workers, engine, limits and backends from this configuration file' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand plan" -l json -d 'Print JSON for programs, in bytes and numbers'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand plan" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand tune" -l tunnels -d 'Tunnels open at the same time; by default limits.connections' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand tune" -s c -l config -d 'Take workers, engine, limits and listeners from this configuration file' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand tune" -l record -d 'Where the values before are kept' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand tune" -l apply -d 'Set what is below; the values before are kept in the record'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand tune" -l revert -d 'Bring the values of the record back'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand tune" -l json -d 'Print JSON for programs'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand tune" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand import" -l from -d 'Whose it is: nginx, haproxy, traefik, stunnel (default: seen from what it says)' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand import" -s o -l output -d 'Write to this new file, not to standard output' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand import" -l resolve -d 'The address to write in place of a server\'s name; may be repeated' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand import" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand doctor" -s c -l config -d 'With --host: take limits and listeners from this configuration file' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand doctor" -l eio -d 'Generation of Engine.IO: 4 for Socket.IO 3 and 4, 3 for Socket.IO 1 and 2' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand doctor" -l sessions -d 'Sessions to open when looking for lost ones' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand doctor" -l idle -d 'How long a tunnel is kept open, seconds' -r
complete -c ringbolt -n "__fish_ringbolt_using_subcommand doctor" -l ca -d 'Believe the issuers in this PEM file, in place of the system\'s' -r -F
complete -c ringbolt -n "__fish_ringbolt_using_subcommand doctor" -l host -d 'Look at this machine instead: what its kernel offers, limits, clock, settings'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand doctor" -l insecure -d 'Go on whatever is wrong with the certificate'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand doctor" -l quick -d 'Leave out what takes long: the held poll and the idle tunnel'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand doctor" -l json -d 'Print JSON for programs'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c ringbolt -n "__fish_ringbolt_using_subcommand version" -s h -l help -d 'Print help'
