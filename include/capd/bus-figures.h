/* SPDX-License-Identifier: MIT */
/*
 * bus-figures.h: what the objects of the control interface show, one line a figure.
 *
 * X(PROPERTY, KIND, MEMBER): the D-Bus property, how it is carried, and where it is in the struct. The front makes its
 * vtables and the answer of Explain() from these lists, capctl reads the same properties back into the same structs. A new figure
 * is one line here.
 *
 *   TEXT     s  char array
 *   U32      u  a count, or basis points
 *   U64      t  a count
 *   COUNTER  t  one that moves at every tick; no PropertiesChanged tells that
 *   SIZE     t  bytes; UINT64_MAX: unknown, or (for a cap) none
 *   USEC     t  microseconds
 *   AT       t  CLOCK_MONOTONIC, microseconds; 0: never
 *   I64      x
 *   INT      i
 *   BOOL     b
 *   STATE    s  enum group_state as its name
 *   QUALITY  s  enum quality as its name
 *   AGE      t  of the group_sample MEMBER at the time of asking, microseconds; UINT64_MAX: nothing is known
 */
#ifndef CAPD_BUS_FIGURES_H
#define CAPD_BUS_FIGURES_H

/* struct wire_group: org.capd1.Group */
#define BUS_GROUP_FIGURES(X)                                                                                           \
        X(Name, TEXT, name)                                                                                            \
        X(Number, U32, number)                                                                                         \
        X(Description, TEXT, description)                                                                              \
        X(State, STATE, state)                                                                                         \
        X(StateTimestampMonotonic, AT, state_since)                                                                    \
        X(Reason, TEXT, reason)                                                                                        \
        X(Action, TEXT, action)                                                                                        \
        X(Paused, BOOL, paused)                                                                                        \
        X(Cap, SIZE, cap)                                                                                              \
        X(ConfiguredCap, SIZE, configured_cap)                                                                         \
        X(TemporaryCap, BOOL, temporary_cap)                                                                           \
        X(CapUntilTimestampMonotonic, AT, cap_until)                                                                   \
        X(LowWatermark, SIZE, low_watermark)                                                                           \
        X(NextLookTimestampMonotonic, AT, next_look)                                                                   \
        X(RetryTimestampMonotonic, AT, retry_at)                                                                       \
        X(TrendBytesPerSecond, I64, trend)                                                                             \
        X(Processes, U32, sample.processes)                                                                            \
        X(AddressSpaces, U32, sample.address_spaces)                                                                   \
        X(Unread, U32, sample.unread)                                                                                  \
        X(RSSSum, SIZE, sample.rss_sum)                                                                                \
        X(UpperBound, SIZE, sample.upper)                                                                              \
        X(LowerBound, SIZE, sample.lower)                                                                              \
        X(VirtualSum, SIZE, sample.vm_sum)                                                                             \
        X(BoundsTimestampMonotonic, AT, sample.bounds_at)                                                              \
        X(Quality, QUALITY, sample.quality)                                                                            \
        X(AgeUSec, AGE, sample)                                                                                        \
        X(CountedTimestampMonotonic, AT, sample.counted_at)                                                            \
        X(CountCostUSec, USEC, sample.count_cost)                                                                      \
        X(Resident, SIZE, sample.resident)                                                                             \
        X(Anon, SIZE, sample.anon)                                                                                     \
        X(File, SIZE, sample.file)                                                                                     \
        X(Shmem, SIZE, sample.shmem)                                                                                   \
        X(Mapped, SIZE, sample.mapped)                                                                                 \
        X(Exclusive, SIZE, sample.exclusive)                                                                           \
        X(ExclusiveAnon, SIZE, sample.exclusive_anon)                                                                  \
        X(HugeTLB, SIZE, sample.hugetlb)                                                                               \
        X(Swap, SIZE, sample.swap)                                                                                     \
        X(ErrorBytes, SIZE, sample.error_bytes)                                                                        \
        X(SampledBasisPoints, U32, sample.sampled)                                                                     \
        X(Private, SIZE, sample.private_bytes)                                                                         \
        X(Shared, SIZE, sample.shared_bytes)                                                                           \
        X(PSSSum, SIZE, sample.pss_sum)                                                                                \
        X(OwnedCGroups, U32, cgroups.owned)                                                                            \
        X(CGroupCurrent, SIZE, cgroups.current)                                                                        \
        X(CGroupSwap, SIZE, cgroups.swap)                                                                              \
        X(CGroupAnon, SIZE, cgroups.anon)                                                                              \
        X(CGroupFile, SIZE, cgroups.file)                                                                              \
        X(CGroupShmem, SIZE, cgroups.shmem)                                                                            \
        X(CGroupFileMapped, SIZE, cgroups.file_mapped)                                                                 \
        X(CGroupUnmappedCache, SIZE, cgroups.unmapped_cache)                                                           \
        X(CGroupSwapCache, SIZE, cgroups.swap_cache)                                                                   \
        X(CGroupKernel, SIZE, cgroups.kernel)                                                                          \
        X(CGroupSockets, SIZE, cgroups.sockets)                                                                        \
        X(ReferenceTimestampMonotonic, AT, reference_at)                                                               \
        X(ReferenceResident, SIZE, reference_resident)                                                                 \
        X(ReferenceMapped, SIZE, reference_mapped)                                                                     \
        X(Moved, U32, moved)                                                                                           \
        X(MoveLeft, U32, move_left)                                                                                    \
        X(MoveOwn, BOOL, move_own)                                                                                     \
        X(MoveTarget, TEXT, move_target)                                                                               \
        X(MemoryHigh, SIZE, memory_high)                                                                               \
        X(MoveCurrent, SIZE, move_current)                                                                             \
        X(MoveNote, TEXT, move_note)                                                                                   \
        X(Acts, U64, acts)                                                                                             \
        X(AttemptedTotal, SIZE, attempted_total)                                                                       \
        X(UnmappedTotal, SIZE, unmapped_total)                                                                         \
        X(FreedTotal, SIZE, freed_total)                                                                               \
        X(CacheTakenTotal, SIZE, cache_taken_total)                                                                    \
        X(RefaultedTotal, SIZE, refaulted_total)                                                                       \
        X(LastActStartedTimestampMonotonic, AT, last_act.started)                                                      \
        X(LastActEndedTimestampMonotonic, AT, last_act.ended)                                                          \
        X(LastActAttempted, SIZE, last_act.attempted)                                                                  \
        X(LastActUnmapped, SIZE, last_act.unmapped)                                                                    \
        X(LastActFreed, SIZE, last_act.freed)                                                                          \
        X(LastActCacheTaken, SIZE, last_act.cache_taken)                                                               \
        X(LastActRefaulted, SIZE, last_act.refaulted)                                                                  \
        X(LastActLeftShared, SIZE, last_act.left_shared)                                                               \
        X(LastActLeftLocked, SIZE, last_act.left_locked)                                                               \
        X(LastActLeftDirty, SIZE, last_act.left_dirty)                                                                 \
        X(LastActLeftNoSwap, SIZE, last_act.left_no_swap)                                                              \
        X(LastActLeftForbidden, SIZE, last_act.left_forbidden)                                                         \
        X(LastActLeftFloor, SIZE, last_act.left_floor)                                                                 \
        X(LastActLeftBusy, SIZE, last_act.left_busy)                                                                   \
        X(LastActProcesses, U32, last_act.processes)                                                                   \
        X(LastActGone, U32, last_act.gone)                                                                             \
        X(LastActStuck, U32, last_act.stuck)                                                                           \
        X(LastActErrno, INT, last_act.error)                                                                           \
        X(ResidentBefore, SIZE, resident_before)                                                                       \
        X(ResidentAfter, SIZE, resident_after)                                                                         \
        X(Strategy, TEXT, strategy)                                                                                    \
        X(StrategyReason, TEXT, strategy_reason)                                                                       \
        X(WorkingSet, SIZE, working_set)                                                                               \
        X(CameBack, SIZE, came_back)                                                                                   \
        X(StalledBasisPoints, U32, stalled)                                                                            \
        X(Kills, U32, kills)

/* struct wire_snapshot: org.capd1.Manager, beside what is computed when asked (manager.c) */
#define BUS_MANAGER_FIGURES(X)                                                                                         \
        X(Version, TEXT, version_text)                                                                                 \
        X(HostMemoryTotal, SIZE, host.total)                                                                           \
        X(HostMemoryFree, SIZE, host.free)                                                                             \
        X(HostMemoryAvailable, SIZE, host.available)                                                                   \
        X(HostMemoryUsedBasisPoints, U32, host.used_basis_points)                                                      \
        X(SwapTotal, SIZE, host.swap_total)                                                                            \
        X(SwapFree, SIZE, host.swap_free)                                                                              \
        X(PressureThresholdBasisPoints, U32, pressure_threshold)                                                       \
        X(DryRun, BOOL, dry_run)                                                                                       \
        X(Paused, BOOL, paused)                                                                                        \
        X(ConfigError, TEXT, config_error)                                                                             \
        X(PolicyLoadedTimestampMonotonic, AT, policy_loaded_at)                                                        \
        X(StartedTimestampMonotonic, AT, started_at)                                                                   \
        X(PublishedTimestampMonotonic, AT, published_at)                                                               \
        X(Tick, COUNTER, tick)                                                                                         \
        X(NGroups, U32, n_groups)                                                                                      \
        X(Processes, U32, processes)                                                                                   \
        X(Quarantined, U32, quarantined)                                                                               \
        X(LostThreads, U32, lost_threads)

/* struct wire_process: one process in the answer of Explain() */
#define BUS_PROCESS_FIGURES(X)                                                                                         \
        X(PID, INT, pid)                                                                                               \
        X(UID, U32, uid)                                                                                               \
        X(Comm, TEXT, comm)                                                                                            \
        X(Command, TEXT, command)                                                                                      \
        X(RSS, SIZE, rss)                                                                                              \
        X(Mapped, SIZE, mapped)                                                                                        \
        X(Anon, SIZE, anon)                                                                                            \
        X(File, SIZE, file)                                                                                            \
        X(Shmem, SIZE, shmem)                                                                                          \
        X(Exclusive, SIZE, exclusive)                                                                                  \
        X(Swap, SIZE, swap)                                                                                            \
        X(HugeTLB, SIZE, hugetlb)                                                                                      \
        X(Share, SIZE, share)                                                                                          \
        X(Alone, SIZE, alone)                                                                                          \
        X(Outcome, U32, outcome)                                                                                       \
        X(Protected, BOOL, protected_process)                                                                          \
        X(BelowFloor, BOOL, below_floor)                                                                               \
        X(SameAddressSpace, BOOL, same_address_space)

/* struct wire_books: in the answer of Explain() */
#define BUS_BOOKS_FIGURES(X)                                                                                           \
        X(ChargedHere, SIZE, here)                                                                                     \
        X(ChargedElsewhere, SIZE, elsewhere)                                                                           \
        X(ChargedNowhere, SIZE, nowhere)                                                                               \
        X(ChargedToMore, SIZE, more)                                                                                   \
        X(MoreCGroups, U32, n_more)                                                                                    \
        X(OwnCGroup, TEXT, own)                                                                                        \
        X(Note, TEXT, note)

/* struct wire_charge: one cgroup in the answer of Explain() */
#define BUS_CHARGE_FIGURES(X)                                                                                          \
        X(CGroup, TEXT, path)                                                                                          \
        X(Bytes, SIZE, bytes)

#endif
