# SPDX-License-Identifier: MIT
# fish completion for capctl(1): asks capctl what the word may become.

function __capctl_complete
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    set -l plain (string unescape -- "$current")
    or set plain "$current"
    set -l found ($before[1] complete -- $before[2..-1] "$plain" 2>/dev/null)
    switch "$found[1]"
        case :files
            __fish_complete_path "$current"
        case :users
            __fish_complete_users
        case :pids
            __fish_complete_pids
        case '*'
            printf '%s\n' $found
    end
end

complete -c capctl -f -a '(__capctl_complete)'
