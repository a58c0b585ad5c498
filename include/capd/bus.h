/* SPDX-License-Identifier: MIT */
/* bus.h: the names of the control interface. */
#ifndef CAPD_BUS_H
#define CAPD_BUS_H

#define BUS_NAME              "org.capd1"
#define BUS_PATH              "/org/capd1"
#define BUS_GROUP_PREFIX      "/org/capd1/group"
#define BUS_MANAGER_INTERFACE "org.capd1.Manager"
#define BUS_GROUP_INTERFACE   "org.capd1.Group"
/* What polkit is asked about. */
#define BUS_MANAGE_ACTION "org.capd1.manage"

/* Errors beside the standard org.freedesktop.DBus.Error ones. */
#define BUS_ERROR_NO_SUCH_GROUP "org.capd1.Error.NoSuchGroup"
#define BUS_ERROR_BAD_CONFIG    "org.capd1.Error.BadConfiguration"
#define BUS_ERROR_BUSY          "org.capd1.Error.Busy"
#define BUS_ERROR_FAILED        "org.capd1.Error.Failed"

#define DEFAULT_RUNTIME_DIRECTORY "/run/capd"
#define DEFAULT_STATE_DIRECTORY   "/var/lib/capd"
#define DEFAULT_CONFIG_FILE       "/etc/capd.conf"
/* In the runtime directory. */
#define CONTROL_SOCKET "control"
#define LOCK_FILE      "lock"

#endif
